"""Which stamps of Tux Paint are photographs of which class: patterns of file names below the folder of stamps."""

from fnmatch import fnmatchcase

STAMPS = {
    "bird": ("animals/birds/*",),
    "carnivore": (
        "animals/mammals/bears/*",
        "animals/mammals/cats/*",
        "animals/mammals/dogs/*",
        "animals/mammals/aquatic/otter.png",
        "animals/mammals/aquatic/sea_lion.png",
        "animals/mammals/badger.png",
        "animals/mammals/ferret.png",
    ),
    "container": (
        "household/cylinder.png",
        "household/garbagecan.png",
        "household/home_compost_bin.png",
        "household/kettle.png",
        "household/wheelie_bin.png",
        "household/dishes/pitcher_small.png",
        "household/dishes/teapot.png",
        "household/dishes/utensils/pepper_grinder.png",
        "sports/trophy_cup.png",
        "town/uk_post_box.png",
        "town/usps_mailbox.png",
    ),
    "flower": ("plants/flowers/*",),
    "fruit": ("food/fruit/*",),
    "hoofed": (
        "animals/mammals/bovines/*",
        "animals/mammals/camel/*",
        "animals/mammals/deer/*",
        "animals/mammals/equines/*",
        "animals/mammals/giraffe.png",
        "animals/mammals/hippopotamus.png",
        "animals/mammals/pig*.png",
        "animals/mammals/rhino_black.png",
        "animals/mammals/wildboar.png",
    ),
    "instrument": ("hobbies/music/*",),
    "plant": (
        "plants/eggplant.png",
        "plants/lavender.png",
        "plants/lettuce_bolted.png",
        "plants/thyme.png",
        "plants/trees/holly_leaves.png",
        "plants/trees/holm_oak.png",
        "plants/trees/liberia-palm.png",
        "plants/trees/pinecone.png",
        "plants/trees/rambutan.png",
        "plants/trees/tree336.png",
        "seasonal/christmas/Christmas_Tree_photo.png",
    ),
    "sea_animal": (
        "animals/fish/*",
        "animals/mammals/aquatic/dolphin.png",
        "animals/mammals/aquatic/orca.png",
        "animals/mammals/aquatic/whale.png",
        "animals/shellfish/*",
    ),
    "small_mammal": (
        "animals/mammals/rodents/*",
        "animals/mammals/rabbit_little.png",
        "animals/marsupials/koala.png",
        "animals/marsupials/wombat.png",
    ),
    "tool": (
        "household/arttools/scissors_*",
        "household/dishes/utensils/nutcracker.png",
        "household/tools/*",
    ),
    "vegetable": ("food/vegetables/*", "food/spices/ginger.png"),
    "vehicle": (
        "military/vehicles/*",
        "vehicles/garbagetruck.png",
        "vehicles/auto/*",
        "vehicles/construction/dumper.png",
        "vehicles/cycle/*",
        "vehicles/emergency/firetruck.png",
        "vehicles/flight/planes/*",
        "vehicles/masstransit/*",
        "vehicles/race/*",
        "vehicles/ship/chineseJunk.png",
    ),
}
"""Each class in turn; a stamp belongs to the first pattern that it matches."""
LEFT_OUT = (
    "*/cartoon/*",
    "*/toys/*",
    "*_mirror.png",
    "animals/fish/shrimp.png",
    "household/tools/cementmixer.png",
    "household/tools/spade.png",
    "plants/flowers/appooppanthady.png",
)
"""Drawings, toys, mirrored copies, a machine, and what is transparent inside."""


def class_of(stamp: str) -> str | None:
    """Return the class of a stamp, or None if it is left out.

    Args:
        stamp: The file below the folder of stamps, with slashes.
    """
    if any(fnmatchcase(stamp, pattern) for pattern in LEFT_OUT):
        return None
    return next(
        (name for name, patterns in STAMPS.items() if any(fnmatchcase(stamp, pattern) for pattern in patterns)), None
    )
