"""The text of sample.pdf: one chapter a page, each on a subject of its own. The company is invented."""

from __future__ import annotations

from dataclasses import dataclass

COMPANY = "Marlow Sound Ferries"


@dataclass(frozen=True)
class Tabulation:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Bars:
    caption: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    highest: float


@dataclass(frozen=True)
class Lines:
    caption: str
    names: tuple[str, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    highest: float


@dataclass(frozen=True)
class Slices:
    parts: tuple[tuple[str, int], ...]  # per cent


Exhibit = Tabulation | Bars | Lines | Slices


@dataclass(frozen=True)
class Chapter:
    title: str
    text: tuple[str, ...]
    exhibit: Exhibit | None = None


CHAPTERS = (
    Chapter(
        "Marlow Sound Ferries",
        (
            "The year 2024 in brief: a pocket report for owners, neighbours and friends of the company.",
            "Since 1931 our boats have joined the islands to the mainland. This booklet has one page for each subject. "
            "The full report can be read in every library and on our website.",
        ),
    ),
    Chapter(
        "Letter from the chair",
        (
            "Dear shareholders, the board met nine times. We elected two directors: a former judge, who leads the "
            "audit committee, and a banker from Norway.",
            "Our strategy is to remain independent and owned by the people of the islands. We propose a dividend of "
            "14 cents a share. A vote will be held at the annual meeting in the town hall.",
        ),
    ),
    Chapter(
        "Passengers",
        ("We carried 1.84 million passengers. Bicycles grew most; July was the busiest month.",),
        Bars(
            "Passengers by month, thousands",
            ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D"),
            (78, 81, 104, 141, 168, 205, 284, 279, 189, 132, 95, 84),
            300,
        ),
    ),
    Chapter(
        "Revenue by route",
        ("Revenue rose to 61 million. The night route earned a profit for the first time.",),
        Tabulation(
            ("Route, millions", "2023", "2024"),
            (
                ("North route", "21.4", "23.1"),
                ("South route", "15.0", "15.7"),
                ("East route", "9.9", "10.3"),
                ("West route", "4.6", "5.2"),
                ("Night route", "2.5", "3.4"),
                ("Freight", "3.5", "3.6"),
            ),
        ),
    ),
    Chapter(
        "Fuel and emissions",
        ("Engines burned 8 percent less diesel. Carbon dioxide fell to 30,200 tonnes, and sulphur vanished.",),
        Lines(
            "Fuel burned each quarter, tonnes",
            ("Q1", "Q2", "Q3", "Q4"),
            (("2023", (2310, 2520, 3040, 2370)), ("2024", (2150, 2330, 2790, 2150))),
            3500,
        ),
    ),
    Chapter(
        "The fleet",
        ("Seven vessels with steel hulls sail under our flag. Aurora turns without a tug.",),
        Tabulation(
            ("Vessel", "Built", "Cars", "Knots"),
            (
                ("Aurora", "2021", "180", "21"),
                ("Kittiwake", "2015", "140", "19"),
                ("Guillemot", "2012", "140", "19"),
                ("Cormorant", "2004", "95", "17"),
                ("Sandpiper", "1999", "48", "15"),
                ("Petrel, spare", "1978", "36", "13"),
            ),
        ),
    ),
    Chapter(
        "Maintenance",
        (
            "Every hull is cleaned, welded and painted in the dry dock once a year. The propeller shaft, the bearings "
            "and the valves are inspected.",
            "Mechanics overhauled four engines and replaced pistons, gaskets and pumps. They found a cracked cylinder "
            "before it could fail. Sensors now measure vibration and oil pressure.",
        ),
    ),
    Chapter(
        "Safety",
        (
            "Crews practised 412 drills: they lowered lifeboats, ran out fire hoses and wore smoke helmets. An "
            "evacuation of 600 people took 17 minutes.",
            "Two sailors were injured, one by a rope and one by a ladder. The rescue boat saved three people from a "
            "capsized yacht, and its crew received a medal.",
        ),
    ),
    Chapter(
        "Employees",
        ("At the end of the year 428 employees and 17 apprentices worked here. Wages rose by 4 percent.",),
        Slices((("Sailors", 34), ("Engineers", 18), ("Stewards", 22), ("Tickets", 14), ("Office", 12))),
    ),
    Chapter(
        "Ticket prices",
        ("A return ticket is ten percent cheaper. Refunds are paid until a day before departure. Dogs are free.",),
        Tabulation(
            ("Single ticket", "North", "South"),
            (
                ("Adult", "18.50", "14.00"),
                ("Child", "9.00", "7.00"),
                ("Student", "13.00", "10.00"),
                ("Bicycle", "3.00", "3.00"),
                ("Caravan", "61.00", "52.00"),
            ),
        ),
    ),
    Chapter(
        "Weather",
        ("Storms, fog and ice cancelled 462 sailings. A gale with waves of nine metres closed the port.",),
        Bars(
            "Sailings cancelled by month",
            ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D"),
            (74, 61, 38, 17, 9, 6, 8, 11, 22, 47, 65, 104),
            120,
        ),
    ),
    Chapter(
        "Customer survey",
        ("Most complaints were about dirty toilets, noise and parking. The friendly crew was praised.",),
        Bars(
            "Satisfaction, marks out of ten",
            ("Crew", "Seats", "Food", "Toilets", "Noise"),
            (9.2, 7.9, 7.1, 5.8, 6.9),
            10,
        ),
    ),
    Chapter(
        "Kitchen",
        ("Cooks bake bread on board. Vegetables, milk and eggs come from farms on the islands.",),
        Tabulation(
            ("Dish", "Sold", "Price"),
            (
                ("Fish soup", "94,300", "8.90"),
                ("Potato pancakes", "71,800", "6.50"),
                ("Cheese sandwich", "68,200", "4.80"),
                ("Chocolate cake", "58,900", "3.90"),
                ("Coffee with milk", "402,000", "2.40"),
                ("Lemonade", "66,500", "2.90"),
            ),
        ),
    ),
    Chapter(
        "The new pier",
        (
            "Construction of a concrete pier began in March. Divers drove steel piles, two cranes work on the deck, "
            "and granite comes from a quarry nearby.",
            "The project is four weeks late, because the excavator hit an ancient wreck. Archaeologists lifted its "
            "anchor and a bronze bell. An architect designed the hall with a timber roof.",
        ),
    ),
    Chapter(
        "Balance sheet",
        ("The auditors approved the accounts. Loans paid for new buildings, so that debt increased.",),
        Tabulation(
            ("Millions", "2023", "2024"),
            (
                ("Equipment", "71.2", "68.4"),
                ("Land and buildings", "16.0", "29.3"),
                ("Cash in bank", "11.7", "13.0"),
                ("Total assets", "106.4", "118.6"),
                ("Share capital", "20.0", "20.0"),
                ("Bank loans", "32.6", "40.8"),
            ),
        ),
    ),
    Chapter(
        "Insurance and pensions",
        (
            "Insurance against shipwreck, fire and collision costs 1.9 million. Three claims were settled, the largest "
            "for a lorry that tipped over.",
            "The pension fund holds government bonds and shares. Pensioners live to the age of 86 on average, as an "
            "actuary assumes; retirement begins at 66.",
        ),
    ),
    Chapter(
        "Whales and birds",
        ("Biologists count animals from the bridge. Captains slow down near a whale, and rats left the nests.",),
        Tabulation(
            ("Species counted", "2023", "2024"),
            (
                ("Porpoise", "2,044", "2,310"),
                ("Killer whale", "41", "36"),
                ("Grey seal", "4,102", "4,415"),
                ("Puffin", "7,930", "8,120"),
                ("Eagle", "23", "31"),
            ),
        ),
    ),
    Chapter(
        "Computers",
        ("Tickets are bought online. The database server has a backup; hackers sent a forged email in vain.",),
        Lines(
            "Tickets sold by channel, per cent",
            ("2021", "2022", "2023", "2024"),
            (("Website", (52, 58, 66, 75)), ("Telephone", (48, 42, 34, 25))),
            80,
        ),
    ),
)
