"""The agent: every step of an update that happens on the device, so that its rules live in one place.

``python -m tinsmith.runtime.agent BASE`` reads one JSON request on its standard input and prints one JSON answer; the
host reaches it over any transport. The folder BASE holds::

    parts/SHA256.part      what has come of a file so far, by the hash of what is sent; the host goes on where it ends
    parts/SHA256           a bundle that is whole, its hash checked
    slots/a  slots/b       one of them active; an update is made in the other, the other is the way back. In each
                           app.tin, the bundle, and unless it is encrypted artifact/, the files that an engine loads
    current → slots/a      the one thing that a server follows; switched by one rename
    state.json             which slot is active, which is on trial and until when, which version was the highest
    audit.jsonl            one hash-chained line a deployment, refusal and rollback
    trusted/*.pub          public keys whose bundles are taken
    decryption.key         of encrypted bundles; needed only for them
    lock                   held while a request changes anything: two hosts can't flash at once
"""
