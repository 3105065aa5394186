"""growc: a compiler for growing neural networks.

Importing growc is all that `from_pretrained` needs to load a grown model: as soon as transformers' Auto classes are
imported, before or after growc, `model_type: growc` is registered with them. Nothing heavy is imported here.
"""

from wrapt import when_imported

__version__ = "0.1.0"


@when_imported("transformers.models.auto.configuration_auto")
def _register(_: object) -> None:
    from growc.nn.auto import register

    register()
