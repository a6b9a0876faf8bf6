"""The columns of a published MELODI table: names, order and units.

Source: the tables published with "The Price of Prompting" (Husom et al., arXiv 2407.16893). The
columns of row numbers that those files begin with are no part of it: they are left-overs of saving
a table with its index.
"""

from __future__ import annotations

from typing import Final

#: 1 kWh in joules.
J_PER_KWH: Final = 3.6e6

#: What a row says of its run, texts and times (ISO 8601, UTC).
TEXTS: Final = ("model_name", "type", "prompt", "response", "text_standard")
TIMES: Final = ("created_at", "start_time", "end_time")
#: A number of seconds, or the text that pandas writes for a time span.
CLOCK: Final = "clock_duration"
#: As the runtime reports them, ns; ``prompt`` is the prefill and ``response`` the decoding.
DURATIONS: Final = ("total_duration", "load_duration", "prompt_duration", "response_duration")
TOKENS: Final = ("prompt_token_length", "response_token_length")
#: kWh.
ENERGIES: Final = (
    "energy_consumption_monitoring",
    "energy_consumption_llm_cpu",
    "energy_consumption_llm_gpu",
    "energy_consumption_llm_total",
    "energy_consumption_llm",
)

#: Numbers that describe the prompt's text, in the order of the published tables.
_FEATURES: Final = """
    word_count sentence_count avg_word_length word_diversity unique_word_count avg_sentence_length
    punctuation_count stop_word_count long_word_count named_entity_count noun_count verb_count
    adj_count adverb_count pronoun_count prop_adverbs prop_pronouns sentiment_polarity
    sentiment_subjectivity flesch_reading_ease flesch_kincaid_grade gunning_fog smog_index
    automated_readability_index coleman_liau_index linsear_write_formula
    dale_chall_readability_score spache_readability mcalpine_eflaw reading_time fernandez_huerta
    szigriszt_pazos gutierrez_polini crawford osman gulpease_index wiener_sachtextformel
    syllable_count lexicon_count char_count letter_count polysyllabcount monosyllabcount
    question_marks exclamation_marks sentence_embedding_variance personal_pronouns named_entities
    adjectives adverbs length_x_complexity questions_about_entities desc_complexity_ratio
    word_count_squared avg_sentence_length_cubed lexical_diversity
"""
FEATURES: Final = tuple(_FEATURES.split())
_AFTER_TEXT_STANDARD: Final = FEATURES.index("spache_readability")

#: Every published column in its order.
PUBLISHED: Final = (
    "model_name",
    "created_at",
    "total_duration",
    "load_duration",
    "prompt_token_length",
    "prompt_duration",
    "response_token_length",
    "response_duration",
    "prompt",
    "response",
    "energy_consumption_monitoring",
    "energy_consumption_llm_cpu",
    "energy_consumption_llm_gpu",
    "type",
    "clock_duration",
    "start_time",
    "end_time",
    "energy_consumption_llm_total",
    "energy_consumption_llm",
    *FEATURES[:_AFTER_TEXT_STANDARD],
    "text_standard",
    *FEATURES[_AFTER_TEXT_STANDARD:],
)
NUMBERS: Final = (*DURATIONS, *TOKENS, *ENERGIES, *FEATURES)
#: Without these a row is no prompt with its energy.
REQUIRED: Final = ("model_name", "start_time", "end_time", *TOKENS, "energy_consumption_llm")
