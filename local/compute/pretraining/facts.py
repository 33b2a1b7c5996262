"""What the base model knows about the world: small closed tables.

They are kept apart from the sentences around them (`chat.py`) so that each can grow alone.
"""

from __future__ import annotations

from typing import Final

COLOURS: Final = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "a banana": "yellow",
    "a lemon": "yellow",
    "a tomato": "red",
    "blood": "red",
    "a strawberry": "red",
    "an orange": "orange",
    "a carrot": "orange",
    "a pumpkin": "orange",
    "milk": "white",
    "chocolate": "brown",
    "wood": "brown",
    "the sea": "blue",
    "a frog": "green",
    "a leaf": "green",
    "the sun": "yellow",
    "a raven": "black",
    "a flamingo": "pink",
    "a pig": "pink",
    "an elephant": "grey",
    "a mouse": "grey",
    "a violet": "purple",
    "a plum": "purple",
    "salt": "white",
    "gold": "yellow",
    "silver": "grey",
    "a cucumber": "green",
}

CAPITALS: Final = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Austria": "Vienna",
    "Poland": "Warsaw",
    "Greece": "Athens",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Ireland": "Dublin",
    "England": "London",
    "Scotland": "Edinburgh",
    "Hungary": "Budapest",
    "Japan": "Tokyo",
    "China": "Beijing",
    "India": "New Delhi",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Canada": "Ottawa",
    "Mexico": "Mexico City",
    "Brazil": "Brasilia",
    "Chile": "Santiago",
    "Peru": "Lima",
    "Cuba": "Havana",
    "Turkey": "Ankara",
    "Russia": "Moscow",
    "Australia": "Canberra",
}

OPPOSITES: Final = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "old": "young",
    "happy": "sad",
    "light": "dark",
    "early": "late",
    "full": "empty",
    "strong": "weak",
    "rich": "poor",
    "hard": "soft",
    "wet": "dry",
    "high": "low",
    "long": "short",
    "open": "closed",
    "loud": "quiet",
    "clean": "dirty",
    "cheap": "expensive",
    "left": "right",
    "up": "down",
    "day": "night",
    "good": "bad",
    "first": "last",
    "near": "far",
}

ANIMALS: Final = {
    "dog": ("barks", "four", "It is a friend of people and likes long walks."),
    "cat": ("meows", "four", "It sleeps a lot and hunts mice at night."),
    "cow": ("moos", "four", "It eats grass and gives us milk."),
    "horse": ("neighs", "four", "It runs fast and can carry people."),
    "duck": ("quacks", "two", "It swims on the lake and has soft feathers."),
    "sheep": ("bleats", "four", "It gives us wool for warm clothes."),
    "lion": ("roars", "four", "It is strong and lives in Africa."),
    "bee": ("buzzes", "six", "It visits flowers and makes honey."),
    "owl": ("hoots", "two", "It flies at night and sees well in the dark."),
    "snake": ("hisses", "no", "It moves over the ground without legs."),
    "wolf": ("howls", "four", "It lives in the forest with its family."),
    "hen": ("clucks", "two", "It lays eggs and lives on a farm."),
    "frog": ("croaks", "four", "It jumps far and lives near water."),
    "pig": ("grunts", "four", "It is clever and likes to eat."),
}

TOPICS: Final = {
    "water": "Water is a clear liquid. All living things need it.",
    "the moon": "The moon goes around the earth. It shines at night.",
    "winter": "Winter is the cold time of the year. In many places it brings snow.",
    "summer": "Summer is the warm time of the year. The days are long.",
    "bread": "Bread is made of flour, water and salt. It is baked in an oven.",
    "books": "A book has many pages. People read books to learn and to dream.",
    "music": "Music is made of sounds and rhythm. It can make people happy.",
    "trees": "Trees are tall plants with a trunk and leaves. Birds build nests in them.",
    "rain": "Rain is water that falls from clouds. Plants need it to grow.",
    "school": "At school children learn to read, to write and to count.",
    "a train": "A train runs on rails. It carries people and goods from town to town.",
    "a doctor": "A doctor helps people who are ill. Many doctors work in a hospital.",
    "a garden": "In a garden people grow flowers and vegetables.",
    "coffee": "Coffee is a hot drink made from roasted beans. Many people drink it in the morning.",
    "tea": "Tea is a hot drink made from leaves. You can add milk or lemon.",
    "football": "Football is a game for two teams. They try to kick the ball into the goal.",
    "a river": "A river is water that flows through the land to the sea.",
    "a mountain": "A mountain is land that rises high above the ground around it.",
    "a computer": "A computer is a machine that works with numbers and words.",
    "a library": "A library is a place where people can read and borrow books.",
}

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
NUMBERS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()

NAMES: Final = (
    "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Karin Leo Mia Noah Olga Paul Rosa Sam "
    "Tina Victor Wendy Zoe"
).split()

WORDS: Final = (
    "apple arrow basket bell bicycle bird boat book bottle box bread bridge brush bucket button "
    "cable cake candle card castle chain chair cheese circle clock cloud coat coin cup desk door "
    "dream dress drum engine feather field finger fire flag flower forest garden gate glass glove "
    "hammer hat heart helmet hill honey horse house island jacket key kitchen ladder lake lamp "
    "letter light lock map market mirror money mountain music needle night number ocean paper "
    "pencil phone picture pillow plate pocket queen rain ring river road rocket roof rope salt "
    "school screen shelf ship shirt shoe shop silver spoon spring star station stone storm story "
    "street sugar summer table teacher tent ticket tool tower town train tree umbrella valley "
    "village voice wagon wall watch water wheel wind window winter wire wood yard"
).split()

PLACES: Final = (
    "shop bakery museum station hotel school library restaurant market pool theatre office "
    "factory cafe bank garage studio clinic club harbour"
).split()
