"""What can be wrong with a text, one file for each kind. A check sees; the policy decides."""
