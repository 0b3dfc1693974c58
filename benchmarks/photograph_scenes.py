"""Photographs without a prominent object of one of the classes, in packages of Debian 12 and of PyPI."""

from benchmarks.photograph_sources import Package


def _files(text: str, form: str = "{}") -> tuple[str, ...]:
    return tuple(form.format(one) for one in text.split())


SCENES = (
    Package(
        "gcompris-qt-data",
        "/usr/share/gcompris-qt/rcc",
        (
            *_files("sea1 sea2 sea3 sea4 sea5 sea6", "clickgame:resource/{}.webp"),
            *_files(
                "EgeskovSlotSpejling GizahPyramids EilanDonanCastle TowerBridgeLondon Chenonceau Nagoya TajMahal "
                "Neuschwanstein OperaSidney",
                "details:image/{}_background.webp",
            ),
            *_files(
                "usa/canyondeChelly usa/georgeWashingtonBirthplace usa/lincolnMemorial usa/navajo "
                "usa/castillodeSanMarcos usa/fortSumter egypt/meidumPyramid egypt/greatPyramidOfGiza "
                "egypt/bentPyramid egypt/redPyramid india/greatStupa india/gatewayofIndia india/konarkSunTemple "
                "india/charminar india/hawaMahal india/rangGhar india/victoriaMemorial india/mysorePalace "
                "india/goldenTemple india/ajantaCave france/chateaudeChambord france/pontduGard "
                "france/reimsCathedral france/citedeCarcassonne france/arlesAmphitheater france/montStMichel "
                "france/rocamadour germany/berlinCathedral germany/schwerinPalace germany/trierImperialBaths "
                "germany/aulaPalatina germany/brandenburgGate germany/wormsCathedral wonders/machuPicchu "
                "wonders/chichenItza wonders/colosseum wonders/petra wonders/greatWallofChina "
                "wonders/christTheRedeemer",
                "explore_monuments:resource/{}.webp",
            ),
        ),
    ),
    Package(
        "scratch",
        "/usr/share/scratch/Media/Backgrounds",
        (
            *_files("chalkboard clothing-store hall kitchen the-movies-inside", "Indoors/{}.jpg"),
            *_files(
                "beach-malibu canyon forest garden-rock grand-canyon gravel-desert hill lake moon pathway "
                "water-and-rocks wave",
                "Nature/{}.jpg",
            ),
            *_files(
                "atom-playground bench-with-view boardwalk brick-wall-and-stairs brick-wall2 building-at-mit "
                "building-fireproof castle city-with-water2 driveway hallway_outdoors hay_field houses mansion "
                "parking-ramp pool route66 silos the-movies train-tracks1 train-tracks2 village wooden-house",
                "Outdoors/{}.jpg",
            ),
            *_files(
                "baseball-field basketball-court1-a football-field playing-field tennis-backboard", "Sports/{}.jpg"
            ),
        ),
    ),
    Package(
        "tuxpaint-data",
        "/usr/share/tuxpaint/templates",
        _files(
            "burnt_bark cliff corn_maze mossy_bark mossy_log mudstone ocean_splash ocean_waves redwoods_above rocks "
            "sun_behind_clouds sun_behind_leaves trees_above trees_at_dusk",
            "{}.jpg",
        ),
    ),
    Package(
        "plasma-workspace-wallpapers",
        "/usr/share/wallpapers",
        _files(
            "BytheWater ColdRipple DarkestHour EveningGlow FallenLeaf Grey OneStandsOut Path summer_1am",
            "{}/contents/images/2560x1600.jpg",
        ),
    ),
    Package(
        "mate-backgrounds",
        "/usr/share/backgrounds/mate/nature",
        _files("Aqua Blinds Dune GreenMeadow RainDrops Storm Wood", "{}.jpg"),
    ),
    Package(
        "lomiri-wallpapers-16.04",
        "/usr/share/backgrounds",
        (
            "Bridge_by_Sander_Klootwijk.jpg",
            *_files("aitzgorri life picosdeeuropa sunset", "{}_by_Aitzol_Berasategi.jpg"),
        ),
    ),
    Package("scikit-image", "data", _files("brick grass gravel", "{}.png"), module="skimage"),
    Package("scikit-learn", "datasets/images", ("china.jpg",), module="sklearn"),
)
"""No photograph twice: where GCompris and Scratch show the same building, one of them is left out."""
