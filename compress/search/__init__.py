"""Say the budget, get the model: which recipe makes the artifact that keeps every bound and costs least.

============  ====================================================================================================
bounds        what is asked for: bytes, milliseconds on devices, memory there, and how much worse answers may be
figures       what is known about one artifact, each figure measured
space         which recipes there are for this model, these samples and these bounds; the well-known ones first
proposing     which of them is tried next (Optuna)
trial         one that was tried, with its figures and what it lacks
found         what all trials come to
front         what nothing else beats in everything, what is chosen of it, and which bound to loosen where none is kept
trying        what a search asks of others: carry out a job, measure an artifact
subject       what all jobs are made of, and where they are carried out
workroom      jobs carried out on a model, and what comes of them
spreading     the same in worker processes of this machine (worker, descent)
sensing       what single operators cost in fewer bits
store         everything that was found, in SQLite, so that a killed search goes on
tracking      what experiment trackers are told
searching     the loop: propose, try, measure, learn
delivering    artifacts of the Pareto set made whole and proven, each once
============  ====================================================================================================
"""
