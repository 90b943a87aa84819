"""Certificates as JPKI's register has them: key pairs, issuing, validity, revocation, lists. Their DER is ``pki``'s."""
