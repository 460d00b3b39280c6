"""The notary: a transparency log of what is stored, and its proofs (docs/notary.md)."""
