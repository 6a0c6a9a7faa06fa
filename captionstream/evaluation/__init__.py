"""How good the captions are: real pictures, labels made by hand, and judges that share no code with the writer."""
