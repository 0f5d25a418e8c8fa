"""The chat template: other programs render a chat in the training format through the saved tokenizer.

The system message is the persona, one fact a line; `developer` is another name of its role. As in importing, a space
joins the text parts of a message and the messages of one role in a row; a line end joins those of the persona. Text
that looks like a special token is broken up (`<|` -> `< |`) after the messages are joined, so that no text becomes
control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# BREAKS stands for the replacements that break special tokens up.
CHAT_TEMPLATE = """\
{%- set eos = eos_token -%}
{%- macro plain(text) -%}{{- textBREAKS -}}{%- endmacro -%}
{%- macro text_of(message, gap) -%}
{%- set content = message['content'] -%}
{%- if message['tool_calls'] -%}
{{- raise_exception('a message calls tools, and this model knows none: send messages without tool_calls') -}}
{%- elif content is string -%}
{{- content -}}
{%- elif not content or content is mapping or content is not iterable -%}
{{- raise_exception("a message's content must be text or a list of text parts") -}}
{%- else -%}
{%- for part in content -%}
{%- if part is not mapping or part['type'] not in ['text', 'input_text', 'output_text'] or \
part['text'] is not string -%}
{{- raise_exception("a message has a part that is no text, and this model reads only text: leave the part out") -}}
{%- endif -%}
{%- endfor -%}
{{- content | map(attribute='text') | select | join(gap) -}}
{%- endif -%}
{%- endmacro -%}
{%- if tools -%}{{- raise_exception('this model knows no tools: send messages without tools') -}}{%- endif -%}
{%- set chat = namespace(persona='', turns=[]) -%}
{%- for message in messages -%}
{%- set role = message['role'] -%}
{%- if role in ['system', 'developer'] and not chat.turns -%}
{%- set chat.persona = chat.persona + '\\n' + text_of(message, '\\n') -%}
{%- elif role not in ['user', 'assistant'] -%}
{{- raise_exception('a message has the role ' ~ (role or 'none') ~ \
'; expected system (the persona) first, then user and assistant') -}}
{%- elif chat.turns and chat.turns[-1]['role'] == role -%}
{%- set text = [chat.turns[-1]['text'], text_of(message, ' ')] | select | join(' ') -%}
{%- set chat.turns = chat.turns[:-1] + [{'role': role, 'text': text}] -%}
{%- else -%}
{%- set chat.turns = chat.turns + [{'role': role, 'text': text_of(message, ' ')}] -%}
{%- endif -%}
{%- endfor -%}
{%- if goal -%}
{%- if goal is not string -%}{{- raise_exception('a goal must be text') -}}{%- endif -%}
{{- '<|act|>' + plain(goal) -}}
{%- endif -%}
{{- '<|p1|>' if (chat.turns and chat.turns[0]['role'] == 'assistant') or \
(not chat.turns and add_generation_prompt) else '<|p2|>' -}}
{%- for fact in chat.persona.replace('\\r\\n', '\\n').split('\\n') if fact.strip() -%}
{{- plain(fact) + eos -}}
{%- endfor -%}
{{- '<|sep|><|start|>' -}}
{%- for turn in chat.turns -%}
{%- if turn['role'] == 'assistant' -%}
{%- generation -%}{{- plain(turn['text']) + eos -}}{%- endgeneration -%}
{%- else -%}
{{- plain(turn['text']) + eos -}}
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
