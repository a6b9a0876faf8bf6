"""Which tensors of a checkpoint's files make each parameter of a model, by transformers' own rules of loading.

Files and models differ: names change with the release, and what files keep as a matrix for each expert is one
tensor of three axes in transformers 5.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch

#: Operations that leave the axis of a matrix's inputs as it is, whatever they do to the others.
_ROW_OPERATIONS: Final = frozenset({"MergeModulelist", "Concatenate", "Chunk", "Split", "Interleave"})

Read = Callable[[str], torch.Tensor]


@dataclass(slots=True)
class Origin:
    """The tensors in the files of one parameter, or of several that one operation makes."""

    parameter: str
    #: (name in the files, transformers' pattern that it matched), in the order in which they are joined.
    tensors: list[tuple[str, str]] = field(default_factory=list)
    converter: Any = None

    @property
    def keeps_inputs(self) -> bool:
        """Whether each tensor is a matrix, or a stack of them, with the same inputs as the parameter."""
        if self.converter is None:
            return True
        names = [type(operation).__name__ for operation in self.converter.operations]
        rows = {0, 1} if "MergeModulelist" in names else {0}
        dims = {getattr(operation, "dim", None) for operation in self.converter.operations}
        return _ROW_OPERATIONS.issuperset(names) and dims <= rows

    @property
    def stacks(self) -> bool:
        """Whether tensors of the files are matrices of one expert each."""
        return any("*" in pattern for _, pattern in self.tensors)

    def place(self, tensor: str) -> int:
        """The place of a file's tensor among those of its kind: the expert's number."""
        pattern = dict(self.tensors)[tensor]
        return [name for name, other in self.tensors if other == pattern].index(tensor)

    def parameters(self, model: Any, read: Read) -> dict[str, torch.Tensor]:
        """The parameters, by their names in the model, of tensors that ``read`` gives by their names in files."""
        if self.converter is None:
            ((name, _),) = self.tensors
            return {self.parameter: read(name)}
        converter = copy.deepcopy(self.converter)
        for name, pattern in self.tensors:
            converter.add_tensor(self.parameter, name, pattern, read(name))
        made = converter.convert(self.parameter, model=model, config=model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


def origins(model: Any, names: Iterable[str]) -> Iterator[Origin]:
    """Where the parameters of ``model`` come from, of files with tensors of these ``names``."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    whole = model.state_dict()
    by_parameter: dict[str, Origin] = {}
    for name in sorted(names, key=dot_natural_key):
        parameter, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, whole)
        if parameter not in whole:
            parameter, pattern = rename_source_key(name, [], [], model.base_model_prefix, whole)
        if parameter in whole:
            origin = by_parameter.setdefault(parameter, Origin(parameter, converter=by_pattern.get(pattern)))
            origin.tensors.append((name, pattern or name))
    yield from by_parameter.values()
