"""Admission: who may begin, who must wait, and how often one may try again."""
