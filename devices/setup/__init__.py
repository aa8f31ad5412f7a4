"""Setting up a board once, from the host, so that one without a network works too.

The board needs Python 3.10 or later, and nothing else. Wheels are sent to its base folder and unpacked there by a
script of the standard library; no pip runs on it. The folder BASE then holds, beside what the agent keeps there::

    wheels/SHA256/       a wheel, unpacked and compiled, by the hash of its file; whole or not there
    wheels/SHA256.part   what has come of one that is being sent; the host goes on where it ends
    venv-NAME/           an environment that sees a set of these, NAME by their hashes
    venv → venv-NAME     the one in use; switched by one rename
    server.json          the settings of the server, which follows what the agent activates; edit them as you like
    serve                starts the server by hand, for boards without systemd
"""
