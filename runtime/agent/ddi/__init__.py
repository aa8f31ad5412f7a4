"""An Eclipse hawkBit client in the agent: an existing rollout engine drives the updates of a device.

``python -m tinsmith.runtime.agent.ddi BASE`` reads ``BASE/hawkbit.json`` and polls a hawkBit server over its Direct
Device Integration API, version 1. What it downloads goes the way of every bundle: received, checked, tried in a child
process, active on trial, healthy for a while, committed; or taken back. Those rules are the agent's and stand there.

Written from the API's sources of the years 2016 to 2026 (github.com/eclipse-hawkbit/hawkbit, folder ``hawkbit-ddi``:
the resources in ``DdiRootControllerRestApi``, their behaviour in ``DdiRootController`` and ``DataConversionHelper``,
the documents in ``ddi/json/model``) and from the page eclipse.dev/hawkbit/apis/ddi_api. Beside the board's files lie::

    hawkbit.json           where the server is, and who this device is to it
    hawkbit-action.json    the action that is under way, feedback that is owed, and how the last actions ended
    hawkbit.lock           held while a client runs
"""
