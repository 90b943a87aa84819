"""Floor 6: the main job, from registering residents to abolishing cards, and a checker that does not ask the nodes.

``driver`` asks the nodes as municipal systems, residents and relying parties do; ``checker`` then reads database,
chips, lists and OCSP answers by itself and says what does not fit. May import stack and everything below.
"""
