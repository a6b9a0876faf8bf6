"""JSON formats, declared: which keys an object has, of which type, and what it is.

A kind is ``text``, ``integer``, ``number``, ``boolean``, ``scalar``, ``any`` or the name of a
record; ``[kind]`` is a list, ``{kind}`` an object with keys of the session's own, ``kind?`` may
be null. Numbers that are not finite are null. The declaration makes the document and its schema,
so a renamed attribute breaks the report and never silently the format.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Record:
    """An object of the document: its keys in order, each with its kind."""

    description: str
    fields: Mapping[str, str]


def record(description: str, *fields: str) -> Record:
    """``fields`` are ``key:kind`` with spaces between them."""
    return Record(description, dict(field.split(":", 1) for line in fields for field in line.split()))


#: Objects of the report of a session, some of them in other documents too.
RECORDS: Final[Mapping[str, Record]] = {
    "report": record(
        "A session. `machine`, `preflight` and `versions` are as the run recorded them",
        "session_id:text status:text created_at:text? finished_at:text? profile_name:text joulebench_version:text",
        "seed:integer? protocol:text? name:text energy_banner:text machine:{any} preflight:{any} versions:{any}",
        "probes:[probe] channels:[channel] cells:[cell] answers:[answer] verdicts:[verdict_table]",
        "costs:[cost_table] matrix:[model_row] extrapolations:[extrapolation]",
        "scalings:[scaling]",
        "operators:[operator_table] unmeasured:[note] trust:[note]",
    ),
    "probe": record("A requested probe", "probe:text available:boolean reason:text? cure:text?"),
    "channel": record(
        "A channel that was sampled; `scale` is the value of one raw count in `unit`",
        "channel:text quantity:text unit:text kind:text provenance:text domain:text? counted:boolean scale:number?",
        "wraps_at:integer? update_period_s:number? measured_period_s:number? resolution:number?",
        "relative_uncertainty:number? offset_u_w:number? note:text?",
    ),
    "cell": record(
        "A cell, also one that failed or was skipped",
        "id:text label:text session:text model:text technique:text backend:text device:text workload:text unit:text",
        "status:text cause:text? cause_kind:text? processes:integer blocks:integer requests:integer",
        "energy:[energy] headline:figure headline_net:figure speed:speed memory:memory quality:quality",
        "agreement:agreement? temperature_max_c:number? observer:observer flags:[flag] evidence:{scalar}",
        "facts:{scalar} threads:integer? dtype:text? backend_settings:text token:token kernel:kernel?",
        "mbu:figure mfu:figure time_base:text simulation_s:number? units_per_request:number?",
    ),
    "figure": record(
        "A number; `low` and `high` bound its 95 % interval, or the range of a model's inputs (`is_range`)",
        "value:number? unit:text low:number? high:number? n:integer provenance:text? method:text flags:[text]",
        "reason_if_null:text? is_range:boolean",
    ),
    "energy": record(
        "Energy of one provenance for a unit of work, over the counted channels",
        "provenance:text channels:[text] methods:[text] gross:figure gross_with_scale:figure net:figure",
        "attributed:figure mean_of_ratios:figure without_flagged:figure power_w:figure phases:{figure}",
        "scale_relative_uncertainty:number? notes:[text]",
    ),
    "speed": record(
        "Times and rates",
        "decode_tok_s:figure prefill_tok_s:figure units_s:figure best_units_s:figure ttft_median_s:figure",
        "ttft_p95_s:figure",
        "tpot_s:figure block_s:figure",
    ),
    "memory": record(
        "Bytes: the process as the kernel sees it, and the runtime's own account",
        "rss_peak_bytes:integer? rss_base_bytes:integer? rss_anon_bytes:integer? rss_file_bytes:integer?",
        "rss_model_bytes:integer? pss_bytes:integer? device_peak_bytes:integer? weights_bytes:integer?",
        "kv_allocated_bytes:integer? kv_used_bytes:integer? workspace_bytes:integer? artifact_bytes:integer?",
    ),
    "quality": record(
        "The scored text; `windows` are pairs of nats and tokens",
        "perplexity:number? nll_nats_per_token:number? tokens:integer? text:text? others:{scalar} windows:[[number]]",
    ),
    "agreement": record(
        "The cell against the reference; `intervals` are pairs of ends at 95 %",
        "reference:text reason:text? prompts:integer? tokens:integer? agreed_tokens:integer? compared_tokens:integer?",
        "ties:integer? top1_share:number? kl_nats_mean:number? kl_nats_max:number? perplexity_ratio:number?",
        "cosine_mean:number? cosine_min:number?",
        "text_perplexity_ratio:number? divergences:[divergence] held:boolean disagrees:[text] intervals:{[number?]}",
    ),
    "divergence": record(
        "Where an answer first differs from the reference's; `gap` and `tolerance` are in logits",
        "prompt:integer position:integer reference_token:integer token:integer reference_text:text? text:text?",
        "gap:number? tolerance:number? tie:boolean",
    ),
    "observer": record(
        "The overhead of sampling",
        "cpu_share:number? ticks:integer? missed:integer? rate_hz:number? late_p99_s:number?",
    ),
    "flag": record("A flag; `blocks` is null if it applies to the whole cell", "flag:text blocks:integer?"),
    "token": record(
        "What one token moves and computes",
        "weights_bytes:integer? kv_position_bytes:integer? operations:integer? head_operations:integer?",
        "decode_context:number? prompt:number?",
    ),
    "kernel": record(
        "The kernel that a cell repeats",
        "name:text moved_bytes:number? operations:number? per_token:integer? array_bytes:number? cache_bytes:number?",
        "context:integer?",
    ),
    "answer": record(
        "The best cells for a model and workload; `left_out` are pairs of a label and the reason",
        "model:text workload:text cells:integer baseline:text provenance:text? picks:[pick] quality:text",
        "left_out:[[text]] trust:grade reason:text?",
    ),
    "pick": record(
        "The best by a goal; if it is not `shown` to be, the `undecided` may be better, and `cure` says how to decide",
        "goal:text cell_id:text label:text figure:figure against:verdict? saving:text shown:boolean as_good:[text]",
        "undecided:[text] cure:text?",
    ),
    "grade": record(
        "How far to trust the ranking, A to D; the decisive reasons come first", "grade:text reasons:[reason]"
    ),
    "reason": record("A reason for a grade, and what would raise it", "grade:text text:text cure:text"),
    "verdict_table": record(
        "Cells of one model and workload, compared with one of them",
        "model:text workload:text baseline_id:text baseline:text verdicts:[verdict]",
    ),
    "verdict": record(
        "A cell against the baseline; `outcome` is saves, costs more, no difference shown or cannot tell",
        "cell_id:text label:text provenance:text? outcome:text text:text reason:text? comparison:comparison?",
    ),
    "comparison": record(
        "Candidate over baseline. `level` is the interval's; `u_log` the standard uncertainty of the ratio's "
        "logarithm, `blocks_u_log` the blocks' part of it",
        "verdict:text ratio:number? low:number? high:number? p_value:number? smallest_detectable:number?",
        "u_log:number? blocks_u_log:number? df:number? n:integer level:number paired:boolean compared_with:integer",
        "flags:[text]",
    ),
    "scaling": record(
        "Cells that differ in one number of the profile alone, and how their costs grow with it",
        "session:text model:text series:text workload:text axis:text values:[number] quantities:[scaled]",
    ),
    "scaled": record(
        "The exponent of a cost over all values of the axis, and between the two highest",
        "name:text unit:text exponent:figure at_end:figure",
    ),
    "extrapolation": record(
        "A whole model by cells with some of its layers",
        "shape:text layers:integer depths:[integer] label:text shallow:text deep:text quantities:[extrapolated]",
    ),
    "extrapolated": record(
        "A quantity of the whole; `measured` where the session has the whole too, `error` relative to that",
        "name:text whole:figure layer:figure fixed:figure measured:figure? error:number? holds:boolean?",
    ),
    "cost_table": record(
        "Compressed cells against the uncompressed model",
        "model:text workload:text backends:[backend_costs] fronts:[front] claims:[claim]",
    ),
    "backend_costs": record("Those on one backend", "backend:text baseline:uncompressed? costs:[technique_cost]"),
    "uncompressed": record(
        "The uncompressed model on a backend",
        "cell_id:text label:text size_bytes:integer? energy:number? energy_unit:text provenance:text? rate:number?",
        "rate_unit:text memory_bytes:integer? perplexity:number? kl:bounded top1:bounded greedy:bounded",
    ),
    "technique_cost": record(
        "A compressed cell; every `relative` is over the uncompressed cell's figure",
        "cell_id:text label:text technique:text families:[text] evidence:text size:relative energy:relative",
        "provenance:text? rate:relative processor:relative memory:relative perplexity:relative kl:bounded",
        "top1:bounded greedy:bounded",
    ),
    "relative": record(
        "A ratio; `in_turns` is false if it may include drift",
        "value:number? low:number? high:number? reason:text? in_turns:boolean",
    ),
    "bounded": record(
        "A figure against the reference of the agreement check", "value:number? low:number? high:number?"
    ),
    "front": record(
        "A Pareto front by labels; `off` pairs a cell with the one that dominates it",
        "objectives:[text] left_out:[text] on:[text] off:[[text]] unplaced:[[text]]",
    ),
    "claim": record(
        "A survey's claim, with this session's verdict", "text:text reading:text verdict:text cases:[case]"
    ),
    "case": record("A cell checked against a claim", "label:text outcome:text figures:text"),
    "operator_table": record(
        "A model's operators, and their sum beside the whole token",
        "title:text context:integer? lines:[operator] sum_s:figure sum_j:figure together:operator? whole_label:text?",
        "whole_context:number? whole_s:figure? whole_j:figure?",
    ),
    "operator": record(
        "An operator; `flattered` if its bytes fit into a cache that a whole token's do not",
        "name:text label:text call_s:figure per_token:integer token_s:figure token_j:figure bandwidth_gb_s:number?",
        "bandwidth_share:number? flattered:boolean",
    ),
    "model_row": record("A model on each of its backends", "model:text entries:[model_entry]"),
    "model_entry": record(
        "A model on a backend, by its uncompressed cells or else all; `outcome` is agrees, disagrees, ran, failed, "
        "skipped or not measured",
        "backend:text outcome:text cells:integer ran:integer text:text reason:text?",
    ),
    "note": record("A term and its note", "term:text text:text"),
}

_TYPES: Final = {"text": "string", "integer": "integer", "number": "number", "boolean": "boolean"}


@dataclass(frozen=True, slots=True)
class Format:
    """A document whose outermost object is ``root``, of a version that is raised when a reader of the old one errs."""

    name: str
    version: int
    root: str
    records: Mapping[str, Record]

    def document(self, value: object) -> dict[str, Any]:
        """The value in plain types that JSON can hold, under the format's name and version."""
        return {"format": self.name, "format_version": self.version, **self._plain(value, self.root)}

    def text(self, value: object) -> str:
        """The document as JSON."""
        return json_text(self.document(value))

    def used(self) -> list[str]:
        """The records that the root leads to, and the root first."""
        names = [self.root]
        for name in names:
            kinds = " ".join(self.records[name].fields.values())
            names += [kind for kind in re.findall(r"\w+", kinds) if kind in self.records and kind not in names]
        return [self.root, *(name for name in self.records if name in names[1:])]

    def schema(self) -> dict[str, Any]:
        """The format as JSON Schema (draft 2020-12)."""
        root, *others = self.used()
        outermost = self._object(root)
        stated = {"format": {"const": self.name}, "format_version": {"const": self.version}}
        outermost["properties"] = stated | outermost["properties"]
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.name,
            **outermost,
            "required": list(outermost["properties"]),
            "$defs": {name: self._object(name) for name in others},
        }

    def _object(self, name: str) -> dict[str, Any]:
        fields = self.records[name].fields
        return {
            "description": self.records[name].description,
            "type": "object",
            "properties": {key: self._schema_of(kind) for key, kind in fields.items()},
            "required": list(fields),
            "additionalProperties": False,
        }

    def _schema_of(self, kind: str) -> dict[str, Any]:
        if kind.endswith("?"):
            return {"anyOf": [self._schema_of(kind[:-1]), {"type": "null"}]}
        if kind.startswith("["):
            return {"type": "array", "items": self._schema_of(kind[1:-1])}
        if kind.startswith("{"):
            return {"type": "object", "additionalProperties": self._schema_of(kind[1:-1])}
        if kind == "scalar":
            return {"type": ["string", "number", "boolean", "null"]}
        if kind == "any":
            return {}
        return {"$ref": f"#/$defs/{kind}"} if kind in self.records else {"type": _TYPES[kind]}

    def _plain(self, value: object, kind: str) -> Any:
        if kind.endswith("?"):
            return None if value is None else self._plain(value, kind[:-1])
        if kind.startswith("["):
            return [self._plain(item, kind[1:-1]) for item in value]  # type: ignore[attr-defined]
        if kind.startswith("{"):
            items = value.items() if isinstance(value, Mapping) else value
            return {str(key): self._plain(item, kind[1:-1]) for key, item in items}  # type: ignore[attr-defined]
        if kind in self.records:
            fields = self.records[kind].fields
            return {key: self._plain(_attribute(value, key), inner) for key, inner in fields.items()}
        return finite(value)


#: What ``joulebench extrapolate`` answers.
EXTRAPOLATIONS: Final = Format(
    "joulebench-extrapolations",
    1,
    "extrapolated_session",
    {
        **RECORDS,
        "extrapolated_session": record(
            "Whole models by some of their layers: none of it was measured",
            "session_id:text extrapolations:[extrapolation]",
        ),
    },
)

#: The report of one session.
REPORT: Final = Format("joulebench-summary", 2, "report", RECORDS)


def _attribute(value: object, key: str) -> object:
    return value[key] if isinstance(value, Mapping) else getattr(value, key)


def finite(value: object) -> object:
    """The value with NaN and infinities as null, which is what JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def json_text(document: object) -> str:
    """A document of finite numbers as JSON."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
