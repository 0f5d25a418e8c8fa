"""The chat template: other programs render a chat in the training format through the saved tokenizer.

The system message is the persona, one fact a line. Text that looks like a special token is broken up (`<|` -> `< |`),
so that no message can become control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# BREAKS stands for the replacements that break special tokens up.
CHAT_TEMPLATE = """\
{%- set eos = eos_token -%}
{%- macro plain(text) -%}{{- textBREAKS -}}{%- endmacro -%}
{%- for message in messages if message['content'] is not string -%}
{{- raise_exception("a message's content must be text, not a list of parts and not nothing") -}}
{%- endfor -%}
{%- set persona = '' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set persona = messages[0]['content'] -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] not in ['user', 'assistant'] or (not loop.first and message['role'] == loop.previtem['role']) -%}
{{- raise_exception('after an optional system message (the persona), user and assistant must alternate') -}}
{%- endif -%}
{%- endfor -%}
{%- if goal -%}
{%- if goal is not string -%}{{- raise_exception('a goal must be text') -}}{%- endif -%}
{{- '<|act|>' + plain(goal) -}}
{%- endif -%}
{{- '<|p1|>' if (messages and messages[0]['role'] == 'assistant') or \
(not messages and add_generation_prompt) else '<|p2|>' -}}
{%- for fact in persona.replace('\\r\\n', '\\n').split('\\n') if fact.strip() -%}
{{- plain(fact) + eos -}}
{%- endfor -%}
{{- '<|sep|><|start|>' -}}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- plain(message['content']) + eos -}}{%- endgeneration -%}
{%- else -%}
{{- plain(message['content']) + eos -}}
{%- endif -%}
{%- endfor -%}
"""


def chat_template(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the template for this tokenizer, whose special tokens may have any shape: `</s>`, `[INST]`."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    # The shorter first: a broken token may look like a longer one, which is broken after it.
    others = sorted((token for token in special if "<|" not in token), key=lambda token: (len(token), token))
    breaks = [(piece, f"{piece[0]} {piece[1:]}" if len(piece) > 1 else " ") for piece in ["<|", *others]]
    return CHAT_TEMPLATE.replace("BREAKS", "".join(f".replace({piece!r}, {broken!r})" for piece, broken in breaks))
