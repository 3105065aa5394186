"""An independent reading of what a growth means, and the comparison of a grown folder with it.

The growth is carried out by tensor programs (`growc.programs`), which this room does not know: for every operator it
says once more, in plain torch and as the paper or the operator's description has it, what each grown tensor must hold.
Shared are what a model is (its trace), the settings, and leaf numerics (draws, singular values).
"""
