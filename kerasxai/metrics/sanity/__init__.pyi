from .checks import ModelRandomization as ModelRandomization
from .checks import RandomClass as RandomClass
from .checks import RandomLabels as RandomLabels
from .similarity import SIMILARITIES as SIMILARITIES
from .weights import layers_from_top as layers_from_top
from .weights import weights_restored as weights_restored
