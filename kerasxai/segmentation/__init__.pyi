from .seeds import SeedIoU as SeedIoU
from .seeds import label_map as label_map
