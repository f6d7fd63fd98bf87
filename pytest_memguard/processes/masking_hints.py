"""What tells that a command line may hold a secret. Most hold none, and what hides them (`masking`) takes 0.2 MB.

Forms of tokens: the rules of gitleaks (https://github.com/gitleaks/gitleaks, config/gitleaks.toml); options: the tools'
manuals.
"""

from __future__ import annotations

MASK = "***"

IN_QUERIES = frozenset(str.split("sig signature code hmac session sid jwt assertion"))
UNIQUE = str.split(
    "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- gldt- glrt- glptt- glft- xoxa- xoxb- xoxe- xoxo- xoxp- xoxr-"
    " xoxs- xapp- sk_live_ rk_live_ sk-ant- sk-proj- whsec_ dckr_pat_ dop_v1_ shpat_ shpss_ lin_api_ hvs. tskey-"
    " glsa_ ya29. PMAK- rubygems_ AGE-SECRET-KEY-1 ATATT3 AIza"
)
_WITH_RANDOM = str.split("sk- sk_test_ npm_ pypi- hf_ gsk_ r8_ pul- SG. xai- pplx-")
ACCESS_KEYS = ("AKIA", "ASIA")  # and sixteen of A-Z2-7
SHAPES = (*UNIQUE, *_WITH_RANDOM, *ACCESS_KEYS, "eyJ", ":AA", "-----BEGIN ", "hook", "/bot")

TOOLS = (
    ("curl", "", "-u: -U: --user: --proxy-user: --pass -E: --cert: -b= --cookie="),
    ("mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mariadb mariadb-dump mariadb-admin", "", "-p!"),
    ("mongo mongosh mongodump mongorestore mongoimport mongoexport cqlsh twine rdesktop", "", "-p"),
    ("sshpass", "", "-p"),
    ("docker podman nerdctl helm oras crane buildah skopeo az oc cf", "login", "-p"),
    ("redis-cli", "", "-a"),
    ("openssl", "", "-passin.: -passout.: -pass.: -k. -K."),
    ("ldapsearch ldapadd ldapmodify ldapdelete ldappasswd ldapwhoami", "", "-w"),
    ("sqlcmd bcp ipmitool mosquitto_pub mosquitto_sub zip unzip", "", "-P"),
    ("smbclient rpcclient", "", "-U%"),
    ("lftp", "", "-u,"),
    ("7z 7za 7zr 7zz rar unrar", "", "-p! -hp!"),
    ("http https xh", "", "-a: --auth:"),
    ("gh", "secret", "-b --body"),
    ("git hg svn jj", "", "-m~ -am~ --message~"),
    ("ssh scp sftp rsync ssh-copy-id", "", ""),
)
"""By the names of tools: the subcommand that its options belong to, and each option with how its value is written.

`:` `%` `,` user and password with this between; `=` secret only as NAME=VALUE; `!` never a word of its own; `.` always
one; `~` prose, in which names mean nothing.
"""

_HINTS = (
    *str.split("pass pwd secret token key cred auth pat bearer cookie login"),
    *sorted(IN_QUERIES),
    *(
        name
        for names, subcommand, options in TOOLS
        if not subcommand and options[-1:] not in ("", "~")
        for name in names.split()
    ),
)


def is_hinted(text: str) -> bool:
    """Return whether a name or a tool may be among the words; most commands have none, and this is what they cost."""
    text = text.lower().replace("path", "")
    return any(map(text.__contains__, _HINTS))


def may_hold_secret(words: list[str]) -> bool:
    """Return whether there is anything in a command line that `masking.mask` may hide."""
    text = "\n".join(words)
    return "@" in text or any(map(text.__contains__, SHAPES)) or is_hinted(text)
