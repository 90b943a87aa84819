"""How nodes reach each other and the public reaches them: frames over mutual TLS, and a small HTTP edge.

May import ``warifu.kernel``, ``warifu.contract`` and ``warifu.ports``.
Why frames: ``docs/decisions/0002-node-protocol.md``.

* ``frames``  the frame, its limits and one connection of them
* ``codec``   envelope and reply to bytes and back
* ``limits``  every bound of both ends
* ``handling``  one request handled: its deadline, and every error as a reply
* ``server``  ``serve``: a handler behind a port
* ``strangers``  who greets and is not let in
* ``client``  ``NetTransport``: the ``Transport`` port over kept connections
* ``variety`` whether its connections through a balancer lead to several servers
* ``local``   ``LocalTransport``: the same port inside one process
* ``tls``     contexts, and a small authority for node certificates
* ``http``    ``serve_http``: GET and POST for the public edges
"""
