"""What was seen becomes text: the scene chooses the facts, a language model may choose the words."""
