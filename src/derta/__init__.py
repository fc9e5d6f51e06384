"""derta: Decoupled Refusal Training. Teaches a language model to refuse at any position."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
