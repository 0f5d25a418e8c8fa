"""ConvAI2 text <-> dialogues: parser and writer, download."""
