"""GPT-2: loading, the forward pass and what makes it faster, the loss over responses, replies."""
