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


def read_yaml(text: str) -> object:
    """The plain value that the text holds. Raises yaml.YAMLError saying where it is wrong."""
    # A subclass of SafeLoader: it makes plain values only.
    return yaml.load(text, Loader=_Loader)


class _Loader(yaml.SafeLoader):
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


_Loader.add_constructor(_FLOAT, _Loader.decimal)


def _error(message: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)
