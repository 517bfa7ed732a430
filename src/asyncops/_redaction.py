"""
Secrets: found in what a program records by the names they stand under and by their shape.

A value under a secret's name goes whole (`is_secret_name`); a text loses the part that is one
(`without_secrets`). `may_hold_secrets` is the quick look that spares most values both.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator

__all__ = [
    "REDACTED",
    "is_secret_name",
    "may_hold_secrets",
    "without_secrets",
    "without_secrets_in_prose",
]

REDACTED = "[redacted]"
"""What stands where a secret stood."""

_SECRET_WORDS = frozenset(
    "password passwords passwd passphrase pwd secret secrets credential credentials authorization"
    " cookie cookies apikey jwt".split()
)
_SECRET_ENDINGS = (
    "password", "passwd", "secret", "apikey", "secretkey", "privatekey", "accesskey", "accesstoken",
    "authtoken", "refreshtoken",
)  # fmt: skip
"""Of words that nobody took apart: `dbpassword`."""

_SECRET_LAST_WORDS = frozenset({"token", "auth"})
_SECRET_KEYS = frozenset(
    "api access private secret signing encryption ssh account master license".split()
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@functools.lru_cache(maxsize=4_096)
def is_secret_name(name: str) -> bool:
    """
    Whether what stands under *name* is taken out: `api_key`, `X-Auth-Token`, `dbPassword` ...
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    if not _SECRET_WORDS.isdisjoint(words) or words[-1] in _SECRET_LAST_WORDS:
        return True
    if any(word.endswith(_SECRET_ENDINGS) for word in words):
        return True
    return any(b in ("key", "keys") and a in _SECRET_KEYS for a, b in itertools.pairwise(words))


def may_hold_secrets(data: bytes, *, members: int = 0) -> bool:
    """
    Whether any rule here could match in *data*, JSON or text in UTF-8: False only where that is
    certain.

    Looks for what no rule can match without, in as few passes over the text as can be: an
    expression that begins with one letter finds that letter ten times as fast as an expression
    with many beginnings finds the next of those, and a letter that is not there at all is found
    missing faster than anything else.

    Args:
        data: JSON that msgspec made, or text.
        members: How many names there are in it that are known not to be those of secrets.
    """
    text = data.decode("latin-1")  # what is not ASCII matters to no rule
    # a name stands before ":" or "=", or it is the first of a pair
    if (text.count(":") > members or "=" in text or "[" in text) and _may_name_secrets(
        data.lower().decode("latin-1")
    ):
        return True
    look = _looks()
    return bool(
        ("-" in text and (look.dash(text) or "-----BEGIN " in text))
        or ("_" in text and look.underscore(text))
        or ("A" in text and look.a(text))
        or ("J" in text and "eyJ" in text)
        or ("@" in text and look.colon(text))
        or "earer " in text
    )


def _may_name_secrets(low: str) -> bool:
    """
    Whether the JSON or text *low*, in lower case, could hold the name of a secret.
    """
    look = _looks()
    if (
        look.w(low)
        or "secret" in low
        or "credential" in low
        or "passphrase" in low
        or ("auth" in low and look.auth(low))
    ):
        return True
    for found in look.k(low):
        if found[0] != "key":
            return True
        # "key" is what many things are called: what matters is the word before it
        begin = max(found.start() - _BEFORE_KEY, 0)
        before = low[begin : found.start()]
        if look.before_key(before) or (begin and look.cut_off(before)):
            return True
    return False


_BEFORE_KEY = 32
"""How far is looked back for the word before "key"; one that begins earlier may be any."""


class _Looks:
    """
    Searches for what secrets have in common; each begins with one letter.
    """

    def __init__(self) -> None:
        # what stands between two words of a name is neither letter nor digit, but may be escaped
        between = r"(?:[^a-z0-9]|\\[a-z0-9]{1,5})*"
        run = r"(?=[0-9A-Za-z_\x80-\xff-]{%d})"
        self.w = re.compile(r"w(?:d(?<=pwd)|t(?<=jwt)|(?<=passw))").search
        # token counts are told with nearly every call of a model: "tokens" is no secret's name
        self.k = re.compile(
            r"k(?:ey|en(?<=token)(?:(?!s)|(?<=accesstoken)|(?<=refreshtoken))|ie(?<=cookie))"
        ).finditer
        self.auth = re.compile(r"auth(?:orization|(?![a-z0-9]))").search
        self.before_key = re.compile(rf"(?:{'|'.join(sorted(_SECRET_KEYS))}){between}\Z").search
        self.cut_off = re.compile(rf"[a-z0-9]*{between}\Z").match
        self.dash = re.compile(rf"-{run % 10}(?:(?<=[sr]k-)|(?<=glpat-)|(?<=xox[a-z]-))").search
        self.underscore = re.compile(
            rf"_{run % 16}(?:(?<=[sr]k_)|(?<=gh[pousr]_)|(?<=_pat_)|(?<=hf_)|(?<=npm_)|(?<=aops_))"
        ).search
        self.a = re.compile(r"A(?:Iza|[KS]IA)").search
        # 256 characters, each of up to four bytes
        self.colon = re.compile(r"://[^/@:]{0,1024}:[^/?#]{1,1024}@").search


_looks = functools.cache(_Looks)
"""Made when first needed, as `_compiled` says."""


# The shapes are the vendors' published ones (key prefixes of OpenAI, Anthropic, Stripe, GitHub,
# GitLab, AWS, Google, Slack, Hugging Face, npm), RFC 7519 (JWT), RFC 6750 (bearer), RFC 7468
# (PEM private keys) and RFC 3986 user information in a URL. By what they begin with, which is
# looked for first: one expression for all of them would look at every character of a long text.
_PREFIXED = r"\b(?P<value>[a-z]{2}[-_][A-Za-z0-9_-]{16,})"
_GITHUB = r"\b(?P<value>gh[a-z]_[A-Za-z0-9]{20,})"
_AWS = r"\b(?P<value>[A-Z]{4}[0-9A-Z]{16})\b"
_SHAPES = {
    **dict.fromkeys(("sk-", "sk_", "rk-", "rk_"), _PREFIXED),
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _GITHUB),
    **dict.fromkeys(("AKIA", "ASIA"), _AWS),
    "github_pat_": r"\b(?P<value>github_pat_\w{20,})",
    "glpat-": r"\b(?P<value>glpat-[\w-]{16,})",
    "AIza": r"\b(?P<value>AIza[\w-]{30,})",
    "xox": r"\b(?P<value>xox[a-z]-[A-Za-z0-9-]{10,})",
    "hf_": r"\b(?P<value>hf_[A-Za-z0-9]{20,})",
    "aops_": r"\b(?P<value>aops_[\w-]{20,})",
    "npm_": r"\b(?P<value>npm_[A-Za-z0-9]{30,})",
    "eyJ": r"\b(?P<value>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,})",
    "earer ": r"earer (?P<value>[A-Za-z0-9._~+/=-]{16,})",
    "-----BEGIN ": (
        r"(?P<value>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?"
        r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z))"
    ),
    "://": r"://(?P<value>[^\s/@:]{0,256}:[^\s/?#]{1,256})(?=@)",
}

# What a name in the text itself tells to be a secret. Every repetition is bounded: a text made to
# be slow to search must not hold up the program that records it.
_NAME_HINTS = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie", "jwt")
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_MAX_NAME_CHARS = 64

_NAMED = r"([\w.-]{1,128})\\{0,8}[\"']?\s{0,8}[=:]"
_SCHEME = r"(?:basic|bearer|digest|token|negotiate|apikey|aws4-hmac-sha256) +"
_LITERAL = (
    r"[\w.-]{1,128}\\{0,8}[\"']?\s{0,8}[=:]\s{0,8}(?:"
    r"(?P<quote>[\"'])(?P<value>(?:\\.|(?!(?P=quote))[^\\]){1,1024})(?P=quote)"
    r"|(?P<escaped>\\{1,8}[\"'])(?P<inner>(?:(?!(?P=escaped)).){1,1024})(?P=escaped))"
)
"""`password = "..."`, `"password": "..."`, and the latter as it looks inside another string."""

_FIELD = (
    r"(?:(?<![^?&;\r\n])|(?<=export )|(?=--))[\w.-]{1,128}="
    r"(?P<value>[^&;\s\"'<>#\\]{1,4096})"
)
"""`password=...` in an address, the body of a form, a file of settings, a command's arguments."""

_HEADER = (
    r"(?:[\w-]{0,16}(?:authorization|cookie)|x-[\w-]{1,32}): *"
    rf"(?P<value>{_SCHEME}[^\r\n\"']{{1,4096}}"
    r"|[^\s\"';]{1,4096}(?:; *[^\r\n\"']{1,4096}|(?=[\r\n\"']|$)))"
)
"""`Authorization: Basic ...`, `Cookie: a=b; c=d`, `X-Api-Key: ...`."""

_ASSIGNMENT = (
    r"[\w.-]{1,128}[\"']?\s{0,8}[=:]\s{0,8}"
    rf"(?P<value>(?:{_SCHEME})?[^\s,;&)}}\]'\"]{{1,4096}})"
)
"""`password=hunter2` or `password: hunter2`, in a repr or in the message of an exception."""

_PLAIN_VALUE = r"[-+]?[\d.,_]+%?|none|null|true|false|\[redacted\]?"


@functools.cache
def _compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """
    *pattern*, compiled when first needed: that takes longer than importing the rest of the module.
    """
    return re.compile(pattern, flags)


def without_secrets(text: str) -> str:
    """
    *text* with `REDACTED` in place of what its shape, or a name before it, tells to be a secret.
    """
    return _without_named(_without_shapes(text), (_HEADER, _LITERAL, _FIELD))


def without_secrets_in_prose(text: str) -> str:
    """
    `without_secrets` of a message, a reason, a repr: there a name and a secret need no quotes.
    """
    return _without_named(without_secrets(text), (_ASSIGNMENT,))


def _without_shapes(text: str) -> str:
    parts: list[str] = []
    done = 0
    places = [(at, shape) for hint, shape in _SHAPES.items() for at in _places(text, hint)]
    for at, shape in sorted(places):
        found = _compiled(shape).match(text, at) if at >= done else None
        if found is not None:
            parts += (text[done : found.start("value")], REDACTED)
            done = found.end("value")
    return "".join((*parts, text[done:])) if parts else text


def _without_named(text: str, rules: tuple[str, ...]) -> str:
    """
    *text* with `REDACTED` in place of what stands after the name of a secret, as *rules* say.
    """
    low = text.replace("İ", "I").lower()  # the one letter whose lower case is longer
    hints = sorted(at for hint in _NAME_HINTS for at in _places(low, hint))
    if not hints:
        return text
    named = _compiled(_NAMED)
    patterns = [_compiled(rule, re.IGNORECASE | re.DOTALL) for rule in rules]
    parts: list[str] = []
    done = 0
    for hint in hints:
        rest = named.match(text, hint) if hint >= done else None
        if rest is None:
            continue
        begin = hint
        least = max(done, hint - _MAX_NAME_CHARS)
        while begin > least and low[begin - 1] in _NAME_CHARS:
            begin -= 1
        if not is_secret_name(text[begin : rest.end(1)]):
            continue
        for pattern in patterns:
            found = pattern.match(text, begin)
            if found is not None:
                group = "value" if found["value"] is not None else "inner"
                if not _compiled(_PLAIN_VALUE, re.IGNORECASE).fullmatch(found[group]):
                    parts += (text[done : found.start(group)], REDACTED)
                    done = found.end(group)
                    break
    return "".join((*parts, text[done:])) if parts else text


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)
