"""ConvAI2 text <-> dialogues: parser and writer, other formats, download."""
