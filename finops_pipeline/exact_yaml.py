"""YAML read with nothing lost: a key given twice is an error, and decimals keep their digits.

Only the reading of text lives here; what the values mean is for the models (`config.py`,
`allocate/rules.py`).
"""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def read_yaml(text: str) -> object:
    """The plain value that the text holds. Raises yaml.YAMLError saying where it is wrong."""
    # Subclasses of SafeLoader: they make plain values only.
    if _Quick is not None:
        try:
            return yaml.load(text, Loader=_Quick)
        except yaml.YAMLError:
            pass  # what is wrong, the slow one says in better words
    return yaml.load(text, Loader=_Loader)


class _Exact(yaml.constructor.SafeConstructor):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _error("a key must be plain text", key_node)
            if key in seen:
                raise _error(f"the key {key!r} stands here twice; remove one", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def decimal(self, node: yaml.ScalarNode) -> Decimal:
        """The number as written."""
        try:
            return Decimal(node.value.replace("_", ""))
        except InvalidOperation:
            raise _error(f"{node.value!r} is not a decimal number", node) from None

    def date(self, node: yaml.ScalarNode) -> object:
        """The date or time; of what only looks like one, such as 2025-02-30, an error."""
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise _error(f"{node.value!r} is not a date: {error}", node) from None


class _Loader(_Exact, yaml.SafeLoader):
    pass


_Quick: Any = None
if yaml.__with_libyaml__:  # a thousand rules in a tenth of the time

    class _QuickLoader(_Exact, yaml.CSafeLoader):
        pass

    _Quick = _QuickLoader

for _one in filter(None, (_Loader, _Quick)):
    _one.add_constructor(_FLOAT, _Exact.decimal)
    _one.add_constructor(_TIMESTAMP, _Exact.date)


def _error(message: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)
