"""Who a DC is and whom it trusts: identity keys, pairing tokens, access tokens, sealed secrets."""
