"""Where does a Keras image classifier look, and is it right?

Names are imported when they are first used: `import kerasxai` alone imports neither TensorFlow nor Keras.
"""

import importlib
from pathlib import Path

import lazy_loader

# In a checkout, callbacks/ and training/ are next to this package; an installed kerasxai contains them.
if not (Path(__file__).parent / "callbacks").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

# So that `import kerasxai` is enough for `keras.models.load_model`, and still imports no Keras.
importlib.import_module("kerasxai.models.registration").register_with_keras()

# Names are listed in `__init__.pyi`, for editors and type checkers as well.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
