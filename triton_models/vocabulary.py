"""What the tagger's 1000 classes and the detector's 80 labels may be called, built from WordNet 3.0.

A tagger that must choose among 1000 narrow classes is often wrong about the narrow one and right about the
kind. So a caption says the most specific *sayable* word whose classes together carry enough probability
(after Deng et al., "Hedging your bets", CVPR 2012). This module decides which words are sayable and which
classes each covers; it runs at export time only, on WordNet's own files, and its result is
`vocabulary.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

# ---------------------------------------------------------------- WordNet's noun files


@dataclass(frozen=True)
class WordNet:
    """Nouns by their offset in `data.noun` (an ImageNet id is "n" and that offset in eight digits)."""

    senses: Mapping[str, tuple[int, ...]]
    lemmas: Mapping[int, tuple[str, ...]]
    parents: Mapping[int, tuple[int, ...]]

    @staticmethod
    def read(folder: Path) -> WordNet:
        """Reads `index.noun` and `data.noun` as described in WordNet's wndb(5WN)."""
        senses = dict(_index_line(line) for line in _lines(folder / "index.noun"))
        entries = [_data_line(line) for line in _lines(folder / "data.noun")]
        return WordNet(senses, {o: words for o, words, _ in entries}, {o: above for o, _, above in entries})

    def sense(self, word: str) -> int:
        """The offset of "table:2", the second sense, or "table", the first. Raises KeyError for an unknown
        word.
        """
        lemma, _, number = word.partition(":")
        return self.senses[lemma][int(number or 1) - 1]

    def above(self, offset: int) -> frozenset[int]:
        """The synset itself and everything it is a kind of."""
        found, waiting = {offset}, [offset]
        while waiting:
            new = set(self.parents[waiting.pop()]) - found
            found |= new
            waiting += new
        return frozenset(found)


def _lines(file: Path) -> Iterable[str]:
    with file.open(encoding="latin-1") as opened:
        yield from (line for line in opened if not line.startswith(" "))


def _index_line(line: str) -> tuple[str, tuple[int, ...]]:
    fields = line.split()
    return fields[0], tuple(int(offset) for offset in fields[-int(fields[2]) :])


def _data_line(line: str) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
    fields = line.split(" | ", 1)[0].split()
    words, rest = int(fields[3], 16), 4 + 2 * int(fields[3], 16)
    pointers = [fields[rest + 1 + 4 * i : rest + 5 + 4 * i] for i in range(int(fields[rest]))]
    above = tuple(int(target) for kind, target, part, _ in pointers if kind in ("@", "@i") and part == "n")
    return int(fields[0]), tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words)), above


# ---------------------------------------------------------------- words

CATEGORIES = """
animal, dog, cat, big_cat=big cat, feline=cat, wolf, fox, bear, monkey, ape, primate:2=monkey or ape,
rodent, leporid=rabbit or hare, antelope=antelope or deer, swine=pig, bovid=hoofed animal, ruminant=hoofed animal,
ungulate=hoofed animal, elephant, whale:2=whale, aquatic_mammal=sea mammal, marsupial,
musteline_mammal=weasel-like animal, equine=hoofed animal, bird, duck, anseriform_bird=duck or goose, parrot,
heron:2=heron, stork, grouse:2=grouse, gallinaceous_bird=fowl, wading_bird=wading bird, seabird,
bird_of_prey=bird of prey, finch, passerine=songbird, fish, shark, insect, beetle, butterfly, spider,
crustacean, crab, lobster:2=lobster, gastropod=snail or slug, snake, lizard, turtle:2=turtle,
crocodilian_reptile=crocodile, reptile, frog, amphibian:3=amphibian, salamander, invertebrate=small animal,
edible_fruit=fruit, fruit, citrus=citrus fruit, vegetable, squash:2=squash, fungus=mushroom, food,
food:2=food, bread, beverage=drink, vehicle, motor_vehicle=motor vehicle, car, truck, bus, boat, ship,
vessel:2=boat or ship, sailing_vessel=sailing boat, craft:2=vessel, aircraft, locomotive=train engine,
bicycle, military_vehicle=military vehicle, cart, spacecraft, building, house,
place_of_worship=religious building, memorial:3=monument, bridge, roof, fence, shop, dwelling=house,
mountain, geological_formation=landscape, shore, furniture=piece of furniture, seat:3=seat, chair,
table:2=table, baby_bed=bed, lamp:2=lamp, source_of_illumination=lamp, clock, timepiece=clock or watch, box,
bottle, bag, basket, bowl:3=bowl, glass:2=glass, pot, pan, jar, jug, vessel:3=container, ware=tableware,
headdress=hat, hat, cap, helmet, footwear, shoe, coat, garment, clothing, fabric, gun, firearm=gun, weapon,
tool, hand_tool=hand tool, edge_tool=cutting tool, machine, measuring_instrument=measuring instrument,
musical_instrument=musical instrument, guitar, stringed_instrument=stringed instrument,
percussion_instrument=percussion instrument, wind_instrument=wind instrument, brass:2=brass instrument,
piano, ball, sports_equipment=sports equipment, game_equipment=game equipment, telephone,
personal_computer=computer, computer, camera, electronic_equipment=electronic device,
kitchen_utensil=kitchen utensil, utensil, home_appliance=household appliance,
writing_implement=pen or pencil, pen, person
"""
"""Kinds worth saying: WordNet sense, and the everyday word where that is another one."""

GROUPS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "building": (
        ("building", "place_of_worship", "roof"),
        (
            "castle", "palace", "monastery", "dome", "vault", "mobile home", "patio", "boathouse", "barn",
            "greenhouse", "prison", "thatch", "tile roof",
        ),
    ),
    "building or tower": (
        ("building", "memorial:3", "place_of_worship", "roof", "tower"),
        (
            "beacon", "bell cote", "water tower", "castle", "palace", "monastery", "dome", "obelisk", "stupa",
            "triumphal arch", "vault", "mobile home", "patio", "boathouse", "barn", "greenhouse", "prison",
            "thatch", "tile roof",
        ),
    ),
    "tower or windmill": (
        ("tower",),
        (
            "beacon", "bell cote", "water tower", "obelisk", "stupa", "construction crane", "flagpole",
            "pole",
            "radio telescope", "solar dish", "drilling platform",
        ),
    ),
    "landscape": (
        ("geological_formation",),
        ("lakeside", "seashore", "alp", "volcano", "valley", "cliff", "promontory", "sandbar", "geyser"),
    ),
    "chicken": ((), ("cock", "hen")),
    "flower": ((), ("daisy", "yellow lady's slipper", "hair slide", "pinwheel")),
    "plant": (
        (),
        ("pot", "daisy", "yellow lady's slipper", "buckeye", "rapeseed", "cardoon", "head cabbage"),
    ),
}  # fmt: skip
"""Kinds WordNet has no synset for over these classes: (senses it covers whole, single classes by first
lemma or word). Where a common thing is no class at all, its mass lies on what looks like it: wind turbines
are called cranes and lighthouses, flowers are called daisies, pinwheels and hair slides.
"""

LOOK_ALIKES = frozenset({"flower", "tower or windmill"})
"""Groups named after a thing that is no class: hedged, however large the mass."""

EVERYDAY = {
    "cock": "rooster", "sorrel": "horse", "ram": "sheep", "ox": "cow or ox", "ibex": "goat or ibex",
    "ladle": "spoon or ladle", "letter opener": "knife or letter opener", "beaker": "glass or beaker",
    "coffeepot": "coffeepot or kettle", "hog": "pig", "drake": "duck", "tusker": "elephant",
    "Arabian camel": "camel", "Indian elephant": "elephant", "African elephant": "elephant",
    "Cardigan": "Welsh corgi", "Pembroke": "Welsh corgi", "boxer": "boxer dog",
    "redbone": "redbone coonhound", "Newfoundland": "Newfoundland dog", "Airedale": "Airedale terrier",
    "tabby": "tabby cat", "tiger cat": "tabby cat", "monarch": "monarch butterfly", "ringlet": "butterfly",
    "lycaenid": "butterfly", "admiral": "butterfly", "sulphur butterfly": "butterfly",
    "cabbage butterfly": "white butterfly", "ashcan": "dustbin", "web site": "web page",
    "jack-o'-lantern": "jack-o'-lantern", "pot": "potted plant", "hand blower": "hair dryer",
    "cellular telephone": "mobile phone", "dial telephone": "rotary telephone", "pay-phone": "payphone",
    "notebook": "notebook computer", "screen": "computer screen", "monitor": "computer monitor",
    "hand-held computer": "handheld computer", "space bar": "keyboard", "switch": "light switch",
    "mouse": "computer mouse", "desktop computer": "desktop computer", "beach wagon": "estate car",
    "cab": "taxi", "pickup": "pickup truck", "trailer truck": "articulated lorry",
    "amphibian": "amphibious vehicle", "half track": "half-track", "tank": "military tank",
    "warplane": "military aircraft", "wing": "aircraft wing", "pirate": "pirate ship",
    "liner": "ocean liner", "wreck": "shipwreck", "yawl": "sailing boat", "bannister": "banister",
    "jean": "jeans", "sax": "saxophone", "sunglass": "sunglasses", "maillot": "swimsuit",
    "maraca": "maracas", "nipple": "bottle teat", "plate": "plate of food", "hotdog": "hot dog",
    "ear": "ear of corn", "Granny Smith": "apple", "rapeseed": "flowering rapeseed",
    "red wine": "glass of red wine", "espresso": "cup of espresso", "eggnog": "glass of eggnog",
    "consomme": "bowl of soup", "hot pot": "hot pot dish", "trifle": "trifle dessert",
    "carbonara": "dish of carbonara", "pop bottle": "drinks bottle", "caldron": "cauldron",
    "Crock Pot": "slow cooker", "Band Aid": "sticking plaster", "toilet seat": "toilet",
    "toilet tissue": "toilet paper", "bell cote": "bell tower", "megalith": "standing stone",
    "worm fence": "wooden fence", "chainlink fence": "chain-link fence", "promontory": "headland",
    "alp": "mountain", "lakeside": "lake", "reflex camera": "camera", "Polaroid camera": "instant camera",
    "book jacket": "book cover", "confectionery": "sweet shop", "ballplayer": "baseball player",
    "iPod": "portable media player", "Model T": "vintage car", "jeep": "off-road vehicle",
    "ping-pong ball": "table tennis ball", "cairn": "cairn terrier", "chow": "chow chow",
    "papillon": "papillon dog", "kelpie": "kelpie dog", "Lhasa": "Lhasa Apso", "Angora": "Angora rabbit",
    "African grey": "grey parrot", "kite": "kite bird", "walking stick": "stick insect",
    "puffer": "pufferfish", "rock beauty": "rock beauty fish", "loggerhead": "loggerhead turtle",
    "titi": "titi monkey", "patas": "patas monkey", "capuchin": "capuchin monkey",
    "ice bear": "polar bear", "plane": "carpenter's plane", "upright": "upright piano",
    "organ": "pipe organ", "brass": "brass plaque", "file": "filing cabinet", "slot": "slot machine",
    "pick": "plectrum", "rule": "ruler or tape measure", "racer": "racing car", "vacuum": "vacuum cleaner",
    "washer": "washing machine", "swab": "mop", "pitcher": "water pitcher", "barrow": "wheelbarrow",
    "vault": "vaulted ceiling", "beacon": "lighthouse", "nail": "metal nail", "teddy": "teddy bear",
    "groom": "bridegroom", "Loafer": "loafer", "pajama": "pyjamas", "Windsor tie": "tie",
    "head cabbage": "cabbage", "hip": "rose hip", "golfcart": "golf cart", "gasmask": "gas mask",
    "analog clock": "clock", "conch": "seashell", "bubble": "soap bubble", "coil": "spiral",
    "French loaf": "baguette", "Petri dish": "Petri dish", "oscilloscope": "oscilloscope",
}  # fmt: skip
"""First lemma of a class in WordNet → the word people use for it.

The word must mean its class where it stands alone (a nail of metal, a plane of wood), must name no brand,
and must name the vessel where a photograph of a drink shows one. `A or b` where b looks the same, is common
and is no class: goats, cows, spoons, knives, kettles, tape measures.
"""

EVERYDAY_BY_ID = {"n03126707": "construction crane", "n02012849": "crane"}
"""Where two classes share their first lemma."""

PICTURED = {"hen": "hen", "cock": "cock:4"}
"""Classes whose synset is any female or male bird, and whose pictures are all of chickens."""

WITHOUT_ARTICLE = frozenset({
    "food", "clothing", "footwear", "tableware", "sports equipment", "game equipment", "fabric", "fruit",
    "citrus fruit", "bread", "squash", "broccoli", "mashed potato", "guacamole", "ice cream", "dough",
    "meat loaf", "chocolate sauce", "corn",
    "flowering rapeseed", "hay", "velvet", "wool", "chain mail", "toilet paper", "sunscreen", "hair spray",
    "perfume", "face powder", "lotion", "jeans", "sunglasses", "binoculars", "swimming trunks", "maracas",
    "cauliflower", "spaghetti squash",
})  # fmt: skip
"""Mass nouns and plural-only nouns: no "a" before them."""

# Classes that the tagger confuses with their neighbours in ordinary photographs: only the kind above is said.
COATS_OF_CATS = frozenset({"tabby", "tiger cat", "Egyptian cat"})
UNSAID = COATS_OF_CATS | {"hair slide"}  # said of flowers, which are no class
FAMILIES_ASK_MORE = ("ungulate", "gallinaceous_bird", "elasmobranch")
"""Kinds with common members or look-alikes that are no ImageNet class (deer, donkey, giraffe; turkey, pigeon;
dolphin): what is below them, species and kinds alike, must be surer.
"""

SENSES = (
    ("person", ("person",)),
    ("animal", ("animal",)),
    ("food", ("food", "food:2", "beverage", "edible_fruit", "vegetable")),
    ("plant", ("plant:2", "flower", "fruit")),
    (
        "place",
        (
            "geological_formation", "building", "mercantile_establishment", "place_of_worship", "castle:2",
            "bridge", "memorial:3", "tower",
        ),
    ),
    ("artifact", ("artifact",)),
)  # fmt: skip
"""What a thing is, the first that fits; decides grammar and what may be said of it (never a person's
colour).
"""

GROUP_SENSES = {
    "building": "place", "building or tower": "place", "tower or windmill": "place", "landscape": "place",
    "chicken": "animal", "flower": "plant", "plant": "plant",
}  # fmt: skip

# ---------------------------------------------------------------- the detector's labels

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic_light",
    "fire_hydrant", "stop_sign", "parking_meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports_ball", "kite", "baseball_bat", "baseball_glove", "skateboard", "surfboard",
    "tennis_racket", "bottle", "wine_glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot_dog", "pizza", "donut", "cake", "chair", "couch",
    "potted_plant", "bed", "dining_table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell_phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy_bear", "hair_drier", "toothbrush",
)  # fmt: skip

COCO_SENSES = {
    "fire_hydrant": "fireplug", "stop_sign": "street_sign", "handbag": "bag:4", "tie": "necktie",
    "skis": "ski", "sports_ball": "ball", "kite": "kite:3", "baseball_bat": "bat:5",
    "wine_glass": "wineglass", "banana": "banana:2", "broccoli": "broccoli:2", "hot_dog": "hotdog:2",
    "donut": "doughnut:2", "cake": "cake:3", "couch": "sofa", "potted_plant": "plant:2",
    "toilet": "toilet:2", "tv": "television:2", "mouse": "mouse:4", "remote": "remote_control",
    "keyboard": "computer_keyboard", "cell_phone": "cellular_telephone", "microwave": "microwave:2",
    "toaster": "toaster:2", "book": "book:2", "teddy_bear": "teddy", "hair_drier": "hand_blower",
}  # fmt: skip
"""Where a label is not the first sense of its own name."""

VESSELS_BY_CONTENT = {
    "coffee mug": "cup", "cup": "cup", "espresso": "cup", "red wine": "wine_glass",
}  # fmt: skip
"""First lemma of a class → label of the vessel that its pictures show; no sense of the label covers it."""

WIDER_THAN_LABEL = frozenset({"potted_plant", "stop_sign"})
"""Labels whose nearest sense also covers other things: a daisy is a plant, but no potted plant."""

COCO_WORDS = {
    "airplane": "aeroplane", "stop_sign": "stop sign", "tie": "tie", "donut": "doughnut", "couch": "sofa",
    "frisbee": "flying disc", "tv": "television", "mouse": "computer mouse", "remote": "remote control",
    "cell_phone": "mobile phone", "sports_ball": "ball", "hair_drier": "hair dryer",
}  # fmt: skip

PLURALS = {
    "person": "people", "sheep": "sheep", "knife": "knives", "skis": "skis", "scissors": "scissors",
    "computer mouse": "computer mice", "broccoli": "broccoli",
}  # fmt: skip

SAYABLE_UNDER: Mapping[str, str | None] = {
    "person": None, "bird": "bird", "cat": "carnivore", "dog": "carnivore", "bear": "carnivore",
    "horse": "ungulate", "sheep": "ungulate", "cow": "ungulate", "zebra": "ungulate", "elephant": "mammal",
    "giraffe": "mammal", "car": "vehicle", "bus": "vehicle", "truck": "vehicle", "train": "vehicle",
    "motorcycle": "vehicle", "bicycle": "vehicle", "boat": "vehicle", "airplane": "vehicle",
    "chair": "furniture", "clock": "timepiece", "scissors": "tool", "cup": "vessel:3", "bottle": "vessel:3",
}  # fmt: skip
"""Labels worth saying → the kind under which the tagger must also see something (None: no need of that).

The other labels were right too seldom on everyday pictures to be said on the detector's word."""

# ---------------------------------------------------------------- building


@dataclass(frozen=True)
class Classes:
    """ImageNet-1k's classes in the tagger's order, as WordNet offsets."""

    wordnet: WordNet
    offsets: tuple[int, ...]

    @cached_property
    def above(self) -> list[frozenset[int]]:
        return [self.wordnet.above(offset) for offset in self.offsets]

    def under(self, offset: int) -> list[int]:
        """Indices of the classes that are of this kind."""
        return [index for index, above in enumerate(self.above) if offset in above]

    def first_lemma(self, index: int) -> str:
        return self.wordnet.lemmas[self.offsets[index]][0]

    def pictured(self, index: int) -> int:
        """What the class's pictures show, as a WordNet offset."""
        sense = PICTURED.get(self.first_lemma(index))
        return self.wordnet.sense(sense) if sense else self.offsets[index]

    def word(self, index: int) -> str:
        lemma = self.first_lemma(index)
        return EVERYDAY_BY_ID.get(synset_id(self.offsets[index])) or EVERYDAY.get(lemma, lemma)


def synset_id(offset: int) -> str:
    return f"n{offset:08d}"


def build(wordnet_folder: Path) -> dict[str, Any]:
    """`leaves`, `nodes` and `detector`, as described in the module `vocabulary.json` is read by."""
    classes = Classes(WordNet.read(wordnet_folder), imagenet_offsets())
    return {
        "leaves": [leaf(classes, index) for index in range(len(classes.offsets))],
        "nodes": [*category_nodes(classes), *leaf_nodes(classes), *group_nodes(classes)],
        "detector": [detector_label(classes, label) for label in COCO],
    }


def as_json(vocabulary: Mapping[str, Any]) -> str:
    """Compact: one leaf, node or label a line, so that a change can be read in a diff."""
    parts = []
    for name, rows in vocabulary.items():
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
        parts.append(f'"{name}":[\n{lines}\n]')
    return "{" + ",\n".join(parts) + "}\n"


def imagenet_offsets() -> tuple[int, ...]:
    """The class list timm ships, in the order of the tagger's logits."""
    names = files("timm").joinpath("data/_info/imagenet_synsets.txt").read_text().split()
    return tuple(int(name[1:]) for name in names)


def categories() -> dict[str, str]:
    """WordNet sense → word."""
    entries = (entry.strip().partition("=") for entry in CATEGORIES.replace("\n", " ").split(","))
    return {sense: word or sense for sense, _, word in entries}


def leaf(classes: Classes, index: int) -> dict[str, Any]:
    """One class: its synset, its word, and the detector's label that covers it, if any."""
    row = {"synset": synset_id(classes.offsets[index]), "word": classes.word(index)}
    label = coco_label(classes, index)
    return {**row, "coco": label} if label else row


def coco_label(classes: Classes, index: int) -> str | None:
    """The detector's label whose sense is nearest above this class, else that of the vessel it comes in."""
    senses = {coco_offset(classes.wordnet, label): label for label in COCO if label not in WIDER_THAN_LABEL}
    covering = [offset for offset in classes.above[index] if offset in senses]
    if not covering:
        return VESSELS_BY_CONTENT.get(classes.first_lemma(index))
    return senses[max(covering, key=lambda offset: len(classes.wordnet.above(offset)))]


def coco_offset(wordnet: WordNet, label: str) -> int:
    return wordnet.sense(COCO_SENSES.get(label, label))


def category_nodes(classes: Classes) -> list[dict[str, Any]]:
    """Kinds of at least one class; the first word given for a synset counts."""
    words: dict[int, str] = {}
    for sense, word in categories().items():
        words.setdefault(classes.wordnet.sense(sense), word)
    covered = {offset: classes.under(offset) for offset in words}
    return [
        _node(
            synset_id(offset), word, covered[offset], "category", sense_of(classes, offset), offset,
            asks_more(classes.wordnet, offset),
        )
        for offset, word in words.items()
        if covered[offset]
    ]  # fmt: skip


def leaf_nodes(classes: Classes) -> list[dict[str, Any]]:
    """Every class that is not itself one of the kinds."""
    kinds = {classes.wordnet.sense(sense) for sense in categories()}
    nodes = []
    for index, offset in enumerate(classes.offsets):
        if offset not in kinds and classes.first_lemma(index) not in UNSAID:
            word, sense = classes.word(index), sense_of(classes, offset)
            sense = "plant" if word == "potted plant" else sense
            family = asks_more(classes.wordnet, offset)
            nodes.append(
                _node(synset_id(offset), word, [index], "leaf", sense, classes.pictured(index), family)
            )
    return nodes


def asks_more(wordnet: WordNet, offset: int) -> bool:
    """Whether this is below a kind that has common members the tagger does not know."""
    families = {wordnet.sense(sense) for sense in FAMILIES_ASK_MORE}
    return not families.isdisjoint(wordnet.above(offset) - {offset})


def group_nodes(classes: Classes) -> list[dict[str, Any]]:
    nodes = []
    for word, (senses, lemmas) in GROUPS.items():
        whole = {index for sense in senses for index in classes.under(classes.wordnet.sense(sense))}
        single = {
            index
            for index in range(len(classes.offsets))
            if not {classes.first_lemma(index), classes.word(index)}.isdisjoint(lemmas)
        }
        node = _node(f"group:{word}", word, sorted(whole | single), "group", GROUP_SENSES[word], None)
        nodes.append({**node, "look_alikes": word in LOOK_ALIKES})
    return nodes


def sense_of(classes: Classes, offset: int) -> str:
    above = classes.wordnet.above(offset)
    for name, senses in SENSES:
        if any(classes.wordnet.sense(sense) in above for sense in senses):
            return name
    return "other"


def detector_label(classes: Classes, label: str) -> dict[str, Any]:
    """One label; `parent_node_leaves` are the classes under the kind that must support it, null where none
    must.
    """
    word = COCO_WORDS.get(label, label.replace("_", " "))
    kind = SAYABLE_UNDER.get(label)
    return {
        "label": label,
        "word": word,
        "plural": PLURALS.get(word) or plural(word),
        "sayable": label in SAYABLE_UNDER,
        "parent_node_leaves": support(classes, label, kind) if kind else None,
        "synset": synset_id(coco_offset(classes.wordnet, label)),
    }


def support(classes: Classes, label: str, kind: str) -> list[int]:
    """Classes of this kind, and those that the label itself covers."""
    own = {index for index in range(len(classes.offsets)) if coco_label(classes, index) == label}
    return sorted(own.union(classes.under(classes.wordnet.sense(kind))))


def plural(word: str) -> str:
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def _node(
    identity: str,
    word: str,
    leaves: list[int],
    kind: str,
    sense: str,
    offset: int | None,
    family: bool = False,
) -> dict[str, Any]:
    return {
        "id": identity,
        "word": word,
        "kind": kind,
        "leaves": leaves,
        "family": family,
        "sense": sense,
        "mass_noun": word in WITHOUT_ARTICLE,
        "synset": synset_id(offset) if offset is not None else None,
    }
