"""One JSON object on one line, in a few lines of our own: `json` brings `re`, 1.2 MB of the 2.7 MB a guard may add."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from json.decoder import JSONDecoder
    from json.encoder import encode_basestring
    from typing import Any, ClassVar, TypeVar

    from typing_extensions import Self, dataclass_transform

    make_scanner: Any
    Kind = TypeVar("Kind")
    Reads = Callable[[dict[str, Any], str], object]
else:
    try:
        from _json import encode_basestring, make_scanner
    except ImportError:  # an interpreter without the C half
        from json.decoder import JSONDecoder
        from json.encoder import encode_basestring

        make_scanner = None

    def dataclass_transform(**_facts: object) -> Callable[[type], type]:
        """Say nothing: it tells type checkers of the constructors (PEP 681)."""
        return lambda cls: cls


_NEEDED = object()


def encode(value: Mapping[str, object]) -> bytes:
    """Return a line of UTF-8 with its line feed. Takes what JSON has: dict, list, str, int, float, bool, None.

    Raises TypeError for anything else. Lone surrogates become backslash escapes.
    """
    return (_text(value) + "\n").encode("utf-8", "backslashreplace")


def decode(line: bytes) -> dict[str, Any]:
    """Return the object that a line holds. Raises ValueError when it holds none."""
    text = line.decode("utf-8", "replace").strip()
    try:
        value, end = _scan(text, 0)
    except (StopIteration, RecursionError):
        raise ValueError("expected a JSON object on one line") from None
    if not isinstance(value, dict) or end != len(text):
        raise ValueError("expected a JSON object on one line")
    return value


def _text(value: object) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (int, float)):
        text = repr(value)
        return text if text[-1].isdigit() else "null"  # nan and inf have no place in JSON
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode_basestring(key)}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no place in a line of JSON")


class _Context:
    """What json.decoder.JSONDecoder tells the C scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_scan: Callable[[str, int], tuple[Any, int]] = (
    make_scanner(_Context()) if make_scanner is not None else JSONDecoder().raw_decode
)


class Field:
    """How an attribute is read from JSON, the key it has there, and what makes a value where none is given."""

    __slots__ = ("factory", "key", "read")

    def __init__(self, read: Reads, key: str, factory: Callable[[], object] | None) -> None:
        self.read = read
        self.key = key
        self.factory = factory


def field(read: Reads, *, key: str = "", default: object = _NEEDED, factory: Callable[[], object] | None = None) -> Any:
    """Declare an attribute of a JsonObject, as `dataclasses.field` does; `key` is the one in JSON, if it is another."""
    return Field(read, key, factory if default is _NEEDED else lambda: default)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class JsonObject:
    """What goes over a wire or into a file as an object of JSON, and comes back checked.

    Its attributes are declared by `field`, and are the keyword arguments of its constructor (dataclasses would cost a
    guard 2 MB). A field that is missing, or null, gets its default.
    """

    fields: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        cls.fields = {**cls.fields, **own}

    def __init__(self, **values: Any) -> None:
        """Take a value for each field. Raises TypeError for one that is needed and missing, or that there is not."""
        for name, each in self.fields.items():
            if name in values:
                value = values.pop(name)
            elif each.factory is not None:
                value = each.factory()
            else:
                raise TypeError(f"{name!r} is missing")
            setattr(self, name, value)
        if values:
            raise TypeError(f"no such field: {', '.join(values)}")

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {each.key or name: _plain(getattr(self, name)) for name, each in self.fields.items()}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """Return what `to_json` made. Raises ValueError, whose text names the key that holds something else."""
        keys = {name: each.key or name for name, each in cls.fields.items()}
        found = {name: cls.fields[name].read(facts, key) for name, key in keys.items() if facts.get(key) is not None}
        try:
            return cls(**found)
        except TypeError as error:  # the constructor wants more
            raise ValueError(str(error)) from None


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    to_json = getattr(value, "to_json", None)
    return to_json() if to_json is not None else value


# What stands under a key, of the kind that is asked for. They raise ValueError.


def _reader(kind: type[Kind], what: str) -> Callable[[dict[str, Any], str], Kind]:
    def read(facts: dict[str, Any], key: str) -> Kind:
        value = facts.get(key)
        if not isinstance(value, kind):
            raise _expected(key, what)
        return value

    return read


read_text = _reader(str, "a text")
read_flag = _reader(bool, "true or false")
read_items: Callable[[dict[str, Any], str], list[Any]] = _reader(list, "a list")
read_object: Callable[[dict[str, Any], str], dict[str, Any]] = _reader(dict, "an object")


def read_whole(facts: dict[str, Any], key: str) -> int:
    """Return the whole number under a key, of at most 63 bits."""
    value = facts.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise _expected(key, "a whole number")
    return value


def read_number(facts: dict[str, Any], key: str) -> float:
    """Return the number under a key."""
    value = facts.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1 << 63:
        raise _expected(key, "a number")
    return float(value)


def read_objects(facts: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in the list under a key."""
    found = read_items(facts, key)
    if not all([isinstance(item, dict) for item in found]):
        raise _expected(key, "a list of objects")
    return found


def read_wholes(facts: dict[str, Any], key: str) -> list[int]:
    """Return the whole numbers in the list under a key."""
    return [read_whole({key: item}, key) for item in read_items(facts, key)]


def _expected(key: str, what: str) -> ValueError:
    return ValueError(f"{key}: expected {what}")
