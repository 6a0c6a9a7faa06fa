"""What may be shown, and in which form. Safety selects, redacts, holds or refuses; it never generates."""
