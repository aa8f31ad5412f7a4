"""What a search found, for people and machines: a page, Markdown, CSV or the record itself.

========  ========================================================================================
made      what ``compress`` reported of an artifact, read back
standing  which of the trials are in the Pareto set, keep the bounds, or came to nothing
loss      what answers have lost, in the unit of this search
plots     the Pareto set, and bytes before and after, as SVG
tables    everything that has rows, as HTML
again     the command lines that do it again, and what comes next
page      all of it on one page that needs nothing else
sheets    the trials as CSV; what was found as Markdown for pull requests
output    files, in the form that their names ask for
========  ========================================================================================
"""
