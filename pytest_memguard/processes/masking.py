"""The rules that hide secrets: by name, by shape, and by the tool that takes them. For command lines and notifiers.

The guard masks while it watches: string methods only, as `re` would add 1.2 MB to it (see jsonline). It loads this only
where `masking_hints` says so: most command lines hold no secret.
"""

from __future__ import annotations

from .masking_hints import ACCESS_KEYS, IN_QUERIES, MASK, SHAPES, TOOLS, UNIQUE, is_hinted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

_STRONG = "password passwd passphrase pwd secret token authorization bearer"
_STRONG_ENDS = "password passwd passphrase secret token apikey accesskey secretkey authorization bearer accesssignature"
_WEAK = "key auth pass pat credential credentials signature"
_WEAK_ENDS = ("pass", "privatekey", "accountkey", "sharedkey", "credential", "credentials")
_ABOUT = frozenset(
    str.split(
        "algorithm askpass bypass class command compass count dir directory endpoint env expires expiry file files"
        " format header helper host id js kind length limit method mode name names only path policy port prefix"
        " provider py rb refresh ring rs service size sock stdin store timeout ts ttl type uri url user username var"
        " version"
    )
)
"""A name that ends so tells something about a secret: `--password-file`, AUTH_URL, `test_auth.py`."""
_NEITHER = frozenset(
    str.split(
        "no not ask skip disable without prompt max min num eos bos pad unk stop mask special public primary foreign"
        " sort partition group cache host hot index"
    )
)
"""A name that begins so is a switch, a number, a token of a language model, or a key that opens nothing."""
_PLAIN = frozenset(
    str.split(
        "true false yes no none null on off auto basic bearer digest negotiate ntlm oauth2 oidc optional required"
        " always never prompt ask ssh https"
    )
)
_FILES = tuple(str.split(".pem .key .crt .pub .json .yaml .yml .txt .p12 .pfx .jks .env .py .md .sig"))
_PATHS = ("/", "./", "../", "~/")
_SCHEMES = ("bearer", "basic", "token", "digest", "apikey")

_NO_TASKS = ("apikey", "accesskey", "password", "passwd", "passphrase", "bearer", "authorization")
_NO_USERS = ("mailto", "acct", "sip", "sips", "xmpp", "npm", "to", "from", "cc")  # before the colon of no password

_BLANKS = " \t\n\r\\"
_QUOTES = "\"'"
_BETWEEN = _BLANKS + _QUOTES + "=:,;&?|(){}[]<>`"
_AFTER_VALUE = " \t\n\r;&|()<>`" + _QUOTES
_AFTER_HOST = _BLANKS + _QUOTES + "/?#,"
_AFTER_PATH = _BLANKS + _QUOTES + "?#,;|&)<>"
_NOT_IN_A_NAME = frozenset(_BLANKS + _QUOTES + ":,;&?|(){}[]<>/")
_SEPARATORS = frozenset("\n;&|()`")
_TOLD = frozenset(_BETWEEN + "@")  # a word without any of these holds neither a name with its value nor an address
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_TOKEN_OR_DOT = _TOKEN | {"."}
_CODE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")

_LEAST = 8  # characters after a prefix that nothing else begins with; the real ones have 16 and more
_LOOKS_RANDOM = 20  # characters: lower-case letters and digits of this length are no word
_WEBHOOKS = (
    ("hooks.slack.com", "/"),
    ("discord.com/api", "/webhooks/"),
    ("discordapp.com/api", "/webhooks/"),
    (".webhook.office.com", "/"),
    ("outlook.office.com", "/webhook/"),
    ("hooks.zapier.com", "/"),
    ("open.feishu.cn", "/hook/"),
    ("open.larksuite.com", "/hook/"),
)

_PASSES = 4  # a mask may part what stood together: AKIA...sk_live_...; nothing is hidden after the third
_FLAGS = frozenset("sSfkLvigGOqnNrj")  # letters without a value that may stand before one: curl -sSu ann:pw
_NO_TOOL: tuple[str, tuple[tuple[str, str], ...]] = ("", ())
_TOOLS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
for _names, _subcommand, _options in TOOLS:
    _parsed = tuple((_one.rstrip(":%,=!.~"), _one[len(_one.rstrip(":%,=!.~")) :]) for _one in _options.split())
    _TOOLS.update(dict.fromkeys(_names.split(), (_subcommand, _parsed)))

_STRONG_WORDS, _STRONG_ENDINGS = frozenset(_STRONG.split()), tuple(_STRONG_ENDS.split())
_WEAK_WORDS = frozenset(_WEAK.split())


def mask(words: list[str]) -> list[str]:
    """Return the words of a command line with each secret in them replaced by ***."""
    for _ in range(_PASSES):
        masked = _mask_once(words)
        if masked == words:
            break
        words = masked
    return masked


def _mask_once(words: list[str]) -> list[str]:
    together = "\n".join(words)
    shapes = [shape for shape in SHAPES if shape in together]
    if not is_hinted(together):
        return [_mask_addresses(_mask_shapes(word, shapes)) for word in words]
    masked = []
    tool = _Tool()
    pending: str | None = None  # how the value is written that the next word is; "-": maybe an option instead
    weight = 0
    previous = ""
    in_pem = False
    for word in words:
        if word.startswith("-----BEGIN") or in_pem:  # a PEM block that a shell has split
            in_pem = (in_pem or word == "-----BEGIN") and not word.startswith("-----END")
            if in_pem and word != "-----BEGIN":
                masked.append(MASK)
                continue
        if pending is not None and not (pending == "-" and _is_option(word)):
            kind, pending = pending, None
            if kind == "~":
                masked.append(_mask_addresses(_mask_shapes(word, shapes)))
            elif kind == "-":
                masked.append(_mask_word(word, shapes) if _is_harmless(word, weight, previous) else MASK)
            else:
                masked.append(_hide(word, kind))
            continue
        pending = None
        found = tool.option(word)
        if not word.startswith("-"):
            tool.see(word)
        if found and found[0] == len(word):
            pending = found[1] if found[1] != "!" else None
            masked.append(word)
            continue
        if found and found[1] != "~":
            masked.append(word[: found[0]] + _hide(word[found[0] :], found[1]))
            continue
        if word.startswith("-") or previous in ("set", "config"):
            weight = 0 if "=" in word or " " in word or "\t" in word or "\n" in word else _weight(word)
            pending = "-" if weight else None
        if pending or not word.startswith("-"):
            previous = word
        masked.append(_mask_word(word, shapes))
    return masked


def mask_text(text: str) -> str:
    """Return what a program said, or a script, with each secret in it replaced by ***."""
    for _ in range(_PASSES):
        masked = _mask_inside(text, [shape for shape in SHAPES if shape in text])
        if masked == text:
            break
        text = masked
    return masked


def is_secret(name: str) -> bool:
    """Return whether a value under this name (`--api-key`, `DB_PASSWORD`, `client.secret`) should not be shown."""
    return _weight(name) > 0


def _weight(name: str) -> int:
    """Return 2 for the name of a secret, 1 for one that may be a path or a number (`--key 2`), 0 for any other."""
    name = name.strip("-\"'{,")
    if not (name.islower() or name.isupper()):
        name = "".join(
            "_" + letter if letter.isupper() and name[at - 1 : at].islower() else letter
            for at, letter in enumerate(name)
        )
    parts = name.lower().replace("-", "_").replace(".", "_").strip("_").split("_")
    if parts[-1] in _ABOUT or parts[0] in _NEITHER or name[:1] == "$":
        return 0
    joined = "".join(parts)
    if joined.endswith(_STRONG_ENDINGS) or not _STRONG_WORDS.isdisjoint(parts):
        return 2
    return 1 if not _WEAK_WORDS.isdisjoint(parts) or (joined.endswith(_WEAK_ENDS) and joined[-7:] not in _ABOUT) else 0


def _is_harmless(value: str, weight: int, name: str = "") -> bool:
    """Return whether a value is no secret although the name before it is a secret's."""
    if value.lower() in _PLAIN or (name in ("PWD", "OLDPWD") and value.startswith("/")):
        return True
    if name.lstrip("-") == "key" and (value[:1] == "{" or (value.isalpha() and value.islower() and len(value) <= 12)):
        return True  # of a table, or sorted(key=len)
    return weight == 1 and (
        (len(value) <= 3 and value.replace(",", "").isdigit())
        or value.endswith(_FILES)
        or (value.startswith(_PATHS) and value == value.lower())
        or value.startswith("~/.ssh/")
    )


def _is_option(word: str) -> bool:
    """Return whether a word is another option, and not a value that begins with "-"."""
    name = word.lstrip("-").partition("=")[0]
    if word[:1] != "-" or not name.isascii():
        return False
    letters = name.replace("-", "").replace("_", "")
    if word.startswith("--"):
        return not name or (letters.islower() and letters[:-1].isalpha()) or (len(letters) == 1 and letters.isalpha())
    return len(name) <= 1 or (letters.isalpha() and letters.islower()) or (len(name) <= 4 and name[1:].isdigit())


def _is_random(token: str, least: int = 10) -> bool:
    """Return whether letters and digits are mixed as in no word: all three kinds, or two of them in a long piece."""
    for piece in token.replace("_", "-").split("-"):
        kinds = (piece.lower() != piece) + (piece.upper() != piece) + any(letter.isdigit() for letter in piece)
        if (kinds == 3 and len(piece) >= least) or (kinds >= 2 and len(piece) >= _LOOKS_RANDOM and not piece.isalpha()):
            return True
    return False


def _hide(value: str, kind: str) -> str:
    """Return what may be shown of the value of a tool's option."""
    if (kind == "=" and "=" not in value) or (kind == "!" and ":" in value and value.replace(":", "").isdigit()):
        return value  # the name of a file; docker's -p8080:80
    if kind in (".:", ":", "%", ","):
        before, between, after = value.partition(kind[-1])
        if kind == ".:" and before in ("env", "file", "fd", "stdin", "prompt"):
            return value
        if not after:
            return MASK + between if _is_random(before, _LEAST) else value
        return f"{before}{between}{MASK}"
    return MASK if value else value


class _Tool:
    """The tool that is called where a command line is read, as far as it is one that takes secrets."""

    __slots__ = ("_name", "_options", "_subcommand")

    def __init__(self) -> None:
        self._name, self._subcommand, self._options = "", *_NO_TOOL

    def see(self, word: str) -> None:
        """Take in a word that is no option."""
        name = word.rpartition("/")[2] if "/" in word else word
        if name in _TOOLS:
            self._name = name
            self._subcommand, self._options = _TOOLS[name]
        elif word == self._subcommand:
            self._subcommand = ""
        elif self._name == "sshpass":  # what it runs has options of its own
            self.forget()

    def forget(self) -> None:
        """Another command begins."""
        self._name, self._subcommand, self._options = "", *_NO_TOOL

    def option(self, word: str) -> tuple[int, str] | None:
        """Return where the secret value begins in the word, its length when it is the next word, and its kind."""
        if self._subcommand or word[:1] != "-":
            return None
        for option, kind in self._options:
            if word == option:
                return len(word), kind
            if not word.startswith(option) and (len(option) > 2 or word[1:2] == "-"):
                continue
            if option[1] == "-":
                if word.startswith(option + "="):
                    return len(option) + 1, kind
            elif kind[:1] == ".":
                continue
            elif len(option) > 2:
                return len(option), kind
            else:
                at = word.find(option[1])
                if at > 0 and _FLAGS.issuperset(word[1:at]):
                    return at + 1, kind
        return None


def _mask_word(word: str, shapes: list[str]) -> str:
    """Mask one argument: NAME=VALUE as a whole, a value that is such a pair, or a text with secrets in it."""
    name, equals, value = word.partition("=")
    if equals and _NOT_IN_A_NAME.isdisjoint(name):
        weight = _weight(name)
        if weight and not _is_harmless(value, weight, name):
            return f"{name}={MASK}" if value else word
        return f"{name}={_mask_word(value, shapes)}"
    return _mask_inside(word, shapes)


def _mask_inside(text: str, shapes: list[str]) -> str:
    if shapes:
        text = _mask_shapes(text, shapes)
    if _TOLD.isdisjoint(text):
        return text
    return _mask_names(_mask_addresses(text))


def _mask_names(text: str) -> str:
    """Mask in a script, a header or JSON: what follows a secret name and `=`, `:` or, for an option, a blank."""
    shown: list[str] = []
    tool = _Tool()
    previous = ""
    position = 0
    while True:
        begin = _end_of(text, position, _BETWEEN, inside=True)
        gap = text[position:begin]
        shown.append(gap)
        if not _SEPARATORS.isdisjoint(gap):
            tool.forget()
        if begin == len(text):
            return "".join(shown)
        end = _end_of(text, begin, _BETWEEN)
        name = text[begin:end]
        span = _option_value(text, begin, end, tool) or _named_value(
            text, begin, end, bare=previous in ("set", "config")
        )
        if name[:1] != "-":
            tool.see(name)
            previous = name
        if span:
            start, hidden, position = span
            shown += [text[begin:start], hidden]
        else:
            shown.append(name)
            position = end


def _option_value(text: str, begin: int, end: int, tool: _Tool) -> tuple[int, str, int] | None:
    """Return where the value of a tool's option begins, what is shown of it, and where it ends."""
    found = tool.option(text[begin:end])
    if not found:
        return None
    length, kind = found
    start = begin + length
    if start == end and not _quoted(text, end):
        start = _end_of(text, end, _BLANKS + "=", inside=True)
        if start == end or kind == "!":
            return None
    start, stop = _quoted(text, start) or (start, _word_end(text, start))
    value = text[start:stop]
    if kind == "~":
        return start, value, stop
    hidden = value if _is_reference(value.rpartition(kind[-1:] or ":")[2]) else _hide(value, kind)
    return None if hidden == value else (start, hidden, stop)


def _named_value(text: str, begin: int, end: int, *, bare: bool) -> tuple[int, str, int] | None:
    """Return where the value of a secret's name begins, what is shown of it, and where it ends."""
    name = text[begin:end]
    before = text[begin - 1 : begin] if begin else ""
    weight = 1 if before in ("?", "&") and before and name.lower().rpartition("-")[2] in IN_QUERIES else _weight(name)
    cookie = name.lower().endswith("cookie")
    if not weight and not cookie:
        return None
    at = _end_of(text, end, "\\", inside=True)
    closed = text[at : at + 1] in _QUOTES and at < len(text)
    at = at + 1 if closed else end
    sign_at = _end_of(text, at, _BLANKS, inside=True)
    sign = text[sign_at : sign_at + 1]
    spaced = sign_at > at
    if sign in ("=", ":"):
        if (cookie and sign != ":") or text.startswith(("::", "://"), sign_at) or (sign == ":" and "/" in name):
            return None
        at = sign_at + 1
        if text[at : at + 1] == (">" if sign == "=" else "="):
            at += 1
        if sign == ":" or spaced:
            at = _end_of(text, at, _BLANKS, inside=True) if text[at : at + 1] != "\\" else at
    elif spaced and weight and (name[0] == "-" or bare) and not _is_option(text[sign_at : _word_end(text, sign_at)]):
        sign, at = " ", sign_at
    else:
        return None
    quoted = _quoted(text, at)
    if quoted and before and not closed and text[quoted[0] - 1] == before:
        return None  # grep "token:" file: it ends the quotes that the name stands in
    header = sign == ":" and not closed and not quoted
    if quoted:
        start, stop = quoted
    elif header and before and before in _QUOTES:
        start, stop = at, text.find(before, at)
        stop = len(text) if stop < 0 else stop
    elif header and not begin and (cookie or name.lstrip("-")[:1].isupper()):
        start, stop = at, text.find("\n", at)
        stop = len(text) if stop < 0 else stop
    else:
        start, stop = at, _word_end(text, at)
    start, stop = _after_scheme(text, start, stop)
    while stop > start and text[stop - 1] == "\\":
        stop -= 1
    value = text[start:stop]
    if not value or _is_reference(value) or _is_harmless(value, weight, name):
        return None
    if header and name.islower() and _is_task(name, value):
        return None
    return start, MASK, stop


def _is_task(name: str, value: str) -> bool:
    """Return whether NAME:VALUE is a task (token:refresh), an image (auth:1.2), a volume, or prose ("auth: fix it")."""
    if name[0] == "-" or name.replace("-", "").replace("_", "").endswith(_NO_TASKS):
        return False
    if value.startswith(_PATHS):
        return value == value.lower()
    if value.replace("-", "").replace(":", "").isalpha():
        return value.islower() and len(value) <= 12
    version = value.lstrip("v")[:1].isdigit() and value == value.lower() and "." in value and len(value) <= 12
    return version or (value.isdigit() and len(value) <= 3)


def _after_scheme(text: str, start: int, stop: int) -> tuple[int, int]:
    """Return where the token of `Bearer TOKEN` begins and ends."""
    first = _end_of(text, start, _BLANKS + _QUOTES)
    if text[start:first].lower() not in _SCHEMES:
        return start, stop
    token = _end_of(text, first, _BLANKS, inside=True)
    if token < stop:
        return token, stop
    return (token, _word_end(text, token)) if stop == first < token else (start, stop)


def _is_reference(value: str) -> bool:
    """Return whether a script names a variable or a command here, and not the secret itself."""
    return value[:1] == "$" and (value[1:2] in ("{", "(", "") or (value[1:].isupper() and value[1:].isidentifier()))


def _quoted(text: str, start: int) -> tuple[int, int] | None:
    """Return where the text in the quotes that open at `start` begins and ends; quotes in quotes have a backslash."""
    at = _end_of(text, start, "\\$", inside=True)  # $'...' is bash's
    quote = text[at : at + 1]
    if not quote or quote not in _QUOTES:
        return None
    end = text.find(text[start : at + 1].lstrip("$"), at + 1)
    return at + 1, len(text) if end < 0 else end


def _word_end(text: str, start: int) -> int:
    """Return where a word of a script ends, or one of the values of `a=1,b=2` or JSON."""
    at = start
    while at < len(text) and text[at] not in _AFTER_VALUE:
        if text[at] == "\\":
            if text[at + 1 : at + 2] in ('"', "'", "\n", ""):
                break
            at += 1
        elif text[at] == ",":
            following = text[at + 1 : _end_of(text, at + 1, _AFTER_VALUE + ",")]
            if "=" in following or ":" in following or text[at + 1 : at + 2] in ('"', "'", " ", ""):
                break
        at += 1
    at = min(at, len(text))
    while at > start and text[at - 1] in "}]" and text[start] != "$":
        at -= 1
    return at


def _end_of(text: str, start: int, characters: Container[str], *, inside: bool = False) -> int:
    """Return where the run beginning at `start` of characters not among (or, `inside`, among) these ends."""
    while start < len(text) and (text[start] in characters) == inside:
        start += 1
    return start


def _mask_addresses(text: str) -> str:
    """Mask what stands before the @ of scheme://user:password@host and user:password@host; a user may be a token."""
    if "@" not in text:
        return text
    pieces = text.split("://")
    for number in range(1, len(pieces)):
        piece = pieces[number]
        end = _end_of(piece, 0, _AFTER_HOST)
        credentials, at, _ = piece[:end].rpartition("@")
        if not at and ":" in piece[:end] and not piece[:end].rpartition(":")[2].isdigit():
            credentials, at, _ = piece[: _end_of(piece, 0, _BLANKS + _QUOTES)].rpartition(
                "@"
            )  # the password has a slash
        if at:
            user, colon, _ = credentials.partition(":")
            kept = f"{user}:{MASK}" if colon and credentials != user + colon else user + colon
            if not (colon and credentials != user + colon) and _is_token(user):
                kept = MASK + colon
            pieces[number] = kept + piece[len(credentials) :]
    text = "://".join(pieces)
    begin = 0
    while begin < len(text):  # without a scheme
        begin = _end_of(text, begin, _BLANKS + _QUOTES, inside=True)
        end = _end_of(text, begin, _BLANKS + _QUOTES)
        credentials, at, host = text[begin:end].rpartition("@")
        user, colon, password = credentials.partition(":")
        secret = at and user and user.lower() not in _NO_USERS and password.strip("*") and "/" not in password
        if secret and _is_host(host):
            text = f"{text[:begin]}{user}:{MASK}{text[begin + len(credentials) :]}"
            end = begin + len(user) + 1 + len(MASK) + 1 + len(host)
        begin = end
    return text


def _is_token(user: str) -> bool:
    """Return whether a user without a password is a token: GitHub's have 40 characters, GitLab's 26."""
    return (
        len(user) >= _LOOKS_RANDOM
        or _is_random(user, _LEAST)
        or (len(user) >= 12 and not user.replace("-", "").isalpha())
    )


def _is_host(text: str) -> bool:
    """Return whether an address goes on here, and not the version of a package or the digest of an image."""
    if text.startswith(("localhost", "tcp(", "unix(")):
        return True
    name, _, port = text[: _end_of(text, 0, "/?#,")].partition(":")
    labels = name.split(".")
    if len(labels) == 4 and all(label.isdigit() for label in labels):
        return True
    return name[:1].isalpha() and (
        (port.isdigit() and not name.startswith("sha")) or (len(labels) > 1 and labels[-1].isalpha())
    )


def _mask_shapes(text: str, shapes: list[str]) -> str:
    """Mask what is a secret by its form; the prefix, which tells whose, stays."""
    for shape in shapes:
        if shape == "-----BEGIN ":
            text = _mask_pem(text)
            continue
        if shape == "hook":
            text = _mask_webhooks(text)
            continue
        at = text.find(shape)
        while at >= 0:
            start = at + len(shape)
            end = _end_of_token(text, at, start, shape)
            if end > start:
                text = f"{text[:start]}{MASK}{text[end:]}"
            at = text.find(shape, start)
    return text


def _end_of_token(text: str, at: int, start: int, shape: str) -> int:
    """Return where the token ends whose prefix stands at `at`, or `start` when there is none."""
    if shape in ACCESS_KEYS:
        end = _end_of(text, start, _CODE, inside=True)
        return end if end - start == 16 else start
    if shape == "/bot":
        digits = _end_of(text, start, "0123456789", inside=True)
        end = _end_of(text, digits + 1, _TOKEN, inside=True)
        return end if digits > start and text[digits : digits + 1] == ":" and end > digits + 1 else start
    if shape == ":AA":  # Telegram's 123456789:AA...
        end = _end_of(text, start, _TOKEN, inside=True)
        return end if text[max(at - 8, 0) : at].isdigit() and at >= 8 and end - start >= 30 else start
    if shape == "eyJ":
        end = _end_of(text, start, _TOKEN_OR_DOT, inside=True)
        return end if text.count(".", start, end) >= 2 and text.find(".", start) - start >= 8 else start
    end = _end_of(text, start, _TOKEN_OR_DOT if shape[-1] == "." else _TOKEN, inside=True)
    if shape in UNIQUE:
        return end if end - start >= _LEAST else start
    if at and (text[at - 1].isalnum() or text[at - 1] in "_-") and not text.startswith("-", at - 1):
        return start
    return end if _is_random(text[start:end].replace(".", "-")) else start


def _mask_pem(text: str) -> str:
    begin = text.find("-----BEGIN ")
    while begin >= 0:
        start = text.find("-----", begin + 11)
        if start < 0:
            break
        start += 5
        end = text.find("-----END", start)
        end = len(text) if end < 0 else end
        if end > start:
            text = f"{text[:start]}{MASK}{text[end:]}"
        begin = text.find("-----BEGIN ", start)
    return text


def _mask_webhooks(text: str) -> str:
    for host, path in _WEBHOOKS:
        at = text.find(host)
        while at >= 0:
            at += len(host)
            start = text.find(path, at)
            end = _end_of(text, at, _AFTER_PATH)
            if 0 <= start < end and start + len(path) < end:
                start += len(path)
                text = f"{text[:start]}{MASK}{text[end:]}"
            at = text.find(host, at)
    return text
