"""What is ours of `memguard-test`'s completion: where its options end, the command's own completion takes over.

Each shell gets the same walk: options end at `--` or at the first word that is neither an option nor an option's value.
`VALUES` stands for the long spellings that take a value, `LETTERS` for the short ones: `-t 500`, `-vt 500`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BASH = r"""
_memguard_test() {
    local index=1 word
    while (( index < COMP_CWORD )); do
        word=${COMP_WORDS[index]}
        case $word in
            --) (( ++index )); break ;;
            VALUES)
                (( ++index ))
                [[ ${COMP_WORDS[index]-} == "=" ]] && (( ++index )) ;;
            -*)
                [[ $word =~ ^-[^-LETTERS]*[LETTERS]$ ]] && (( ++index )) ;;
            *) break ;;
        esac
        (( ++index ))
    done
    if (( index > COMP_CWORD )) || { (( index == COMP_CWORD )) && [[ ${COMP_WORDS[index]} == -* &&
        ${COMP_WORDS[index-1]} != -- ]]; }; then
        [[ ${COMP_WORDS[COMP_CWORD]} == "=" ]] && return
        _shtab_memguard_test
    elif declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$index"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$index"
    elif (( index == COMP_CWORD )); then
        COMPREPLY=($(compgen -c -- "${COMP_WORDS[index]}"))
    fi
}
complete -o bashdefault -o default -F _memguard_test memguard-test
"""

_ZSH = r"""
functions[_memguard_test_options]=$functions[_shtab_memguard_test]
_shtab_memguard_test() {
  local index=2 word
  while (( index < CURRENT )); do
    word=$words[index]
    case $word in
      --) (( ++index )); break ;;
      VALUES) (( ++index )) ;;
      -*) [[ $word =~ '^-[^-LETTERS]*[LETTERS]$' ]] && (( ++index )) ;;
      *) break ;;
    esac
    (( ++index ))
  done
  if (( index > CURRENT )) || [[ $index == $CURRENT && $words[CURRENT] == -* && $words[CURRENT-1] != -- ]]; then
    _memguard_test_options "$@"
  else
    shift $(( index - 1 )) words
    (( CURRENT -= index - 1 ))
    _normal
  fi
}
"""

_FISH = r"""
function __memguard_test_command
    # Prints the command and its words so far; fails while memguard-test's own options are typed.
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        set -e words[1]
        if test "$word" = --
            break
        else if contains -- $word VALUES; or string match -qr '^-[^-LETTERS]*[LETTERS]$' -- $word
            set -q words[1]; or return 1
            set -e words[1]
        else if not string match -q -- '-*' $word
            set words $word $words
            break
        end
    end
    if not set -q words[1]; and string match -q -- '-*' (commandline -ct); and not contains -- -- (commandline -opc)
        return 1
    end
    string join -- \n $words
    return 0
end

function __memguard_test_in_command
    __memguard_test_command >/dev/null
end

function _shtab_memguard_test_using
    # In the place of shtab's own, by which it offers the options.
    not __memguard_test_command >/dev/null
end

function __memguard_test_complete_command
    set -l words (__memguard_test_command)
    complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))
end

complete -c memguard-test -n __memguard_test_in_command -a '(__memguard_test_complete_command)'
"""

WALKS = {"bash": (_BASH, " | "), "zsh": (_ZSH, " | "), "fish": (_FISH, " ")}
"""The script for each shell, and what separates the words that `VALUES` stands for."""


def walk(shell: str, values: Sequence[str]) -> str:
    """Return the script for a shell; `values` are the spellings of options that take a value."""
    template, separator = WALKS[shell]
    long = [value for value in values if value.startswith("--")]
    short = [value[1] for value in values if not value.startswith("--")]
    return template.replace("VALUES", separator.join(long)).replace("LETTERS", "".join(short))
