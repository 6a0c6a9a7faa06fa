"""How the answers go, minute by minute, and what stands out. The monitor watches; it changes no answer."""
