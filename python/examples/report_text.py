"""What stands in sample.pdf: one chapter a page, each on a subject of its own. The company is invented."""

from __future__ import annotations

from dataclasses import dataclass

COMPANY = "Marlow Sound Ferries"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Tabulation:
    caption: str
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
    caption: str
    parts: tuple[tuple[str, int], ...]  # per cent


Exhibit = Tabulation | Bars | Lines | Slices


@dataclass(frozen=True)
class Chapter:
    kicker: str
    title: str
    before: tuple[str, ...]
    exhibits: tuple[Exhibit, ...] = ()
    after: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(
        "Annual report 2024",
        "Marlow Sound Ferries",
        (
            "Since 1931 our ships have joined the islands of Marlow Sound to the mainland. This report covers the "
            "twelve months to 31 December 2024. It was approved by the board on 14 March 2025 and is published in "
            "print and on our website.",
        ),
        (
            Tabulation(
                "Contents",
                ("Chapter", "Page"),
                (
                    ("Letter from the chair", "2"),
                    ("Passengers", "3"),
                    ("Revenue by route", "4"),
                    ("Fuel and emissions", "5"),
                    ("The fleet", "6"),
                    ("Maintenance and dry dock", "7"),
                    ("Safety", "8"),
                    ("Employees and training", "9"),
                    ("Ticket prices", "10"),
                    ("Weather and cancellations", "11"),
                    ("Customer survey", "12"),
                    ("Kitchen and catering", "13"),
                    ("The new pier", "14"),
                    ("Balance sheet", "15"),
                    ("Insurance and pensions", "16"),
                    ("Whales and seabirds", "17"),
                    ("Computers and booking website", "18"),
                ),
            ),
        ),
    ),
    Chapter(
        "From the board",
        "Letter from the chair",
        (
            "Dear shareholders, a year ago I promised you a quiet year. It was nothing of the kind. In February the "
            "founder's granddaughter, Edith Marlow, retired after forty years as a director, and we thank her for a "
            "lifetime of good advice and honest questions.",
            "The board met nine times. We welcomed two new directors: Samuel Okafor, a former judge, who leads the "
            "audit committee, and Ingrid Dahl, who was head of strategy at a Norwegian bank. Both were elected for "
            "three years at the annual meeting in May. Four of our eight directors are now women.",
            "Our strategy rests on three promises. We will remain an independent company owned by the people of the "
            "islands. We will sail every day of the year, even when a sailing loses money. And we will leave the "
            "water cleaner than we found it.",
            "The directors propose a dividend of 14 cents a share, one cent more than last year, to be paid on 2 June. "
            "A vote on the proposal will be held at the annual meeting in the town hall.",
            "I am grateful to every colleague for their courage and good humour. Yours faithfully, Margaret Thorne, "
            "chair of the board of directors.",
        ),
    ),
    Chapter(
        "Traffic",
        "Passengers",
        (
            "We carried 1.84 million passengers, 6 percent more than the year before. Foot passengers grew faster than "
            "cars. July was the busiest month in our history: on Saturday the 20th alone 14,212 people crossed.",
        ),
        (
            Bars(
                "Passengers carried by month, thousands",
                MONTHS,
                (78, 81, 104, 141, 168, 205, 284, 279, 189, 132, 95, 84),
                300,
            ),
            Tabulation(
                "Traffic by kind of passenger and vehicle",
                ("Traffic", "2023", "2024", "Change"),
                (
                    ("Adult passengers", "1,206,400", "1,271,900", "+5%"),
                    ("Children", "312,700", "341,300", "+9%"),
                    ("Bicycles", "61,050", "74,480", "+22%"),
                    ("Cars and vans", "402,300", "410,100", "+2%"),
                    ("Lorries", "38,900", "37,200", "-4%"),
                ),
            ),
        ),
        (
            "Bicycles again showed the strongest growth. School groups and hikers travel mostly in spring, families in "
            "the summer holidays, and commuters on weekday mornings throughout the year.",
        ),
    ),
    Chapter(
        "Finance",
        "Revenue by route",
        (
            "Revenue rose to 61.3 million. The northern route to Skerry Island remains the largest source of income, "
            "and the night route earned a profit for the first time.",
        ),
        (
            Tabulation(
                "Revenue by route, millions",
                ("Route", "2022", "2023", "2024"),
                (
                    ("North: Marlow to Skerry", "19.8", "21.4", "23.1"),
                    ("South: Marlow to Long Key", "14.2", "15.0", "15.7"),
                    ("East: Dunmore to Fairhaven", "9.6", "9.9", "10.3"),
                    ("West: Dunmore to Gull Rock", "4.1", "4.6", "5.2"),
                    ("Night route", "1.9", "2.5", "3.4"),
                    ("Freight contracts", "3.3", "3.5", "3.6"),
                    ("Total revenue", "52.9", "56.9", "61.3"),
                ),
            ),
            Slices(
                "Share of revenue, per cent",
                (("North", 38), ("South", 26), ("East", 17), ("West", 8), ("Night", 5), ("Freight", 6)),
            ),
        ),
        (
            "Operating costs were 54.8 million, so that the operating profit was 6.5 million, or 10.6 percent of "
            "revenue. The western route is still supported by the regional government with 0.9 million a year.",
        ),
    ),
    Chapter(
        "Environment",
        "Fuel and emissions",
        (
            "Our ships burned 9,420 tonnes of diesel, 8 percent less than the year before, although they sailed "
            "farther. Slower crossings at night saved the most. Carbon dioxide emissions fell to 30,200 tonnes.",
        ),
        (
            Lines(
                "Fuel burned each quarter, tonnes",
                ("Q1", "Q2", "Q3", "Q4"),
                (("2023", (2310, 2520, 3040, 2370)), ("2024", (2150, 2330, 2790, 2150))),
                3500,
            ),
            Tabulation(
                "Emissions to the air",
                ("Substance", "2023", "2024"),
                (
                    ("Carbon dioxide, tonnes", "32,830", "30,200"),
                    ("Nitrogen oxides, tonnes", "512", "447"),
                    ("Sulphur dioxide, tonnes", "18", "9"),
                    ("Soot, tonnes", "11", "8"),
                ),
            ),
        ),
        (
            "From 2026 the short crossing to Gull Rock will be sailed by a battery ferry that charges from wind power "
            "in port. Sulphur has nearly vanished since we changed to low-sulphur diesel in April.",
        ),
    ),
    Chapter(
        "Operations",
        "The fleet",
        (
            "Seven ships sail under our flag. The oldest, Petrel, was launched in 1978 and is kept as a spare; the "
            "newest, Aurora, was delivered by a shipyard in Gdansk in 2021.",
        ),
        (
            Tabulation(
                "Ships of the company",
                ("Ship", "Built", "Metres", "Cars", "Knots"),
                (
                    ("Aurora", "2021", "112", "180", "21"),
                    ("Kittiwake", "2015", "98", "140", "19"),
                    ("Guillemot", "2012", "98", "140", "19"),
                    ("Cormorant", "2004", "84", "95", "17"),
                    ("Sandpiper", "1999", "62", "48", "15"),
                    ("Tern (catamaran)", "2018", "41", "0", "34"),
                    ("Petrel (spare)", "1978", "58", "36", "13"),
                ),
            ),
        ),
        (
            "Every hull is built of steel except the catamaran Tern, which is aluminium. Aurora has two propellers "
            "that turn through a full circle, so that she can dock without a tug. Her bridge is enclosed, and her "
            "captain sees the whole deck through cameras.",
            "Cormorant received a new rudder and a deeper keel, which make her steadier in a following sea. Sandpiper "
            "will be sold when the battery ferry arrives. All ships carry the flag of the islands at the stern and "
            "the company's crest on the funnel.",
        ),
    ),
    Chapter(
        "Operations",
        "Maintenance and dry dock",
        (
            "Every ship leaves the water once a year. In the dry dock the hull is cleaned with high pressure, welded "
            "where it is thin, and painted; the propeller shaft, the bearings and the valves are inspected.",
        ),
        (
            Tabulation(
                "Dry dock schedule",
                ("Ship", "Into dock", "Out of dock", "Days"),
                (
                    ("Petrel", "8 January", "19 January", "11"),
                    ("Sandpiper", "22 January", "5 February", "14"),
                    ("Cormorant", "12 February", "15 March", "32"),
                    ("Guillemot", "7 October", "21 October", "14"),
                    ("Kittiwake", "28 October", "12 November", "15"),
                    ("Aurora", "18 November", "29 November", "11"),
                ),
            ),
        ),
        (
            "Engineers overhauled four engines after 24,000 hours. They replaced pistons, gaskets and fuel pumps, and "
            "found a cracked cylinder head on Guillemot before it could fail. A spare gearbox is now kept in the "
            "workshop at Dunmore.",
            "Sensors measure the vibration and the oil pressure of each engine and warn the workshop when a bearing "
            "wears. Unplanned repairs fell from 31 to 19. Corrosion in ballast tanks is the largest item of work "
            "planned for next winter; the welding alone will take three weeks.",
        ),
    ),
    Chapter(
        "People first",
        "Safety",
        (
            "No passenger was seriously injured. Two sailors were hurt, one when a mooring rope snapped and one who "
            "fell from a ladder; both have recovered. Each accident was investigated and its lessons were shared "
            "with all crews within a week.",
        ),
        (
            Tabulation(
                "Incidents reported",
                ("Kind of incident", "2022", "2023", "2024"),
                (
                    ("Slips and falls", "22", "19", "14"),
                    ("Mooring accidents", "3", "2", "1"),
                    ("Small fires", "2", "1", "1"),
                    ("Person overboard", "1", "0", "0"),
                    ("Medical emergencies", "47", "52", "49"),
                ),
            ),
        ),
        (
            "Crews practised 412 drills: lifeboats were lowered, fire hoses run out, and smoke helmets worn in the "
            "dark. A full evacuation of Aurora with 600 volunteers took 17 minutes against a limit of 30.",
            "Every life jacket was inspected, and 340 jackets for small children were added. The rescue boat of "
            "Kittiwake saved three people from a capsized yacht near Long Key in August, for which her crew received "
            "a medal. A defibrillator now hangs on each passenger deck.",
        ),
    ),
    Chapter(
        "People",
        "Employees and training",
        (
            "At the end of the year 428 people worked for the company, 23 more than a year earlier. One third of them "
            "live on the islands. The average employee has been with us for eleven years.",
        ),
        (
            Slices(
                "Employees by occupation, per cent",
                (("Sailors", 34), ("Engineers", 18), ("Stewards", 22), ("Ticket staff", 14), ("Office", 12)),
            ),
            Tabulation(
                "Employment",
                ("Measure", "2023", "2024"),
                (
                    ("Employees", "405", "428"),
                    ("Women, per cent", "31", "34"),
                    ("Apprentices", "12", "17"),
                    ("Days of training per employee", "4.2", "5.6"),
                    ("Days of sick leave per employee", "9.1", "7.8"),
                ),
            ),
        ),
        (
            "Seventeen apprentices learn a trade on board and at the nautical college. Wages rose by 4 percent under "
            "the agreement with the trade union, and the working week of night crews was shortened by two hours.",
        ),
    ),
    Chapter(
        "Customers",
        "Ticket prices",
        (
            "Fares were raised once, on 1 April, by 3 percent on average. Islanders still travel for half price, and "
            "children under six travel free.",
        ),
        (
            Tabulation(
                "Fares for a single crossing",
                ("Ticket", "North", "South", "East", "West"),
                (
                    ("Adult", "18.50", "14.00", "11.50", "8.00"),
                    ("Child, 6 to 15", "9.00", "7.00", "5.50", "4.00"),
                    ("Student or senior", "13.00", "10.00", "8.00", "6.00"),
                    ("Islander", "9.25", "7.00", "5.75", "4.00"),
                    ("Bicycle", "3.00", "3.00", "2.00", "2.00"),
                    ("Motorcycle", "12.00", "10.00", "8.00", "6.50"),
                    ("Car up to 5 m", "46.00", "38.00", "29.00", "24.00"),
                    ("Caravan or trailer", "61.00", "52.00", "41.00", "36.00"),
                ),
            ),
        ),
        (
            "A return ticket costs ten percent less than two singles. The monthly pass for commuters costs 189 and the "
            "family card, which admits two adults and up to four children, costs 44 on any weekend.",
            "Refunds are paid in full up to a day before departure and by half after that. When we cancel a sailing, "
            "the customer chooses between a refund and a seat on the next ship. Dogs on a lead travel free of charge.",
        ),
    ),
    Chapter(
        "Operations",
        "Weather and cancellations",
        (
            "Of 21,460 scheduled sailings 20,998 took place, or 97.8 percent. Storms caused two thirds of the "
            "cancellations. The gale of 3 December, with gusts of 71 knots and waves of nine metres, closed every "
            "route for two days.",
        ),
        (
            Bars(
                "Cancelled sailings by month",
                MONTHS,
                (74, 61, 38, 17, 9, 6, 8, 11, 22, 47, 65, 104),
                120,
            ),
            Tabulation(
                "Causes of cancellations",
                ("Cause", "Sailings", "Share"),
                (
                    ("Strong wind and waves", "308", "67%"),
                    ("Fog", "71", "15%"),
                    ("Engine trouble", "44", "10%"),
                    ("Ice in the harbour", "21", "4%"),
                    ("Crew illness", "18", "4%"),
                ),
            ),
        ),
        (
            "Our meteorologist issues a forecast every six hours. Since June the timetable is adjusted a day ahead "
            "when snow, lightning or thick fog is expected, so that fewer people wait in vain on the quay.",
        ),
    ),
    Chapter(
        "Customers",
        "Customer survey",
        (
            "In September we questioned 3,150 travellers. Nine out of ten would recommend us to a friend. The "
            "friendliness of the crew received the best mark, the cleanliness of the toilets the worst.",
        ),
        (
            Bars(
                "Satisfaction by subject, marks out of ten",
                ("Crew", "On time", "Seats", "Food", "Toilets", "Parking", "Noise"),
                (9.2, 8.4, 7.9, 7.1, 5.8, 6.3, 6.9),
                10,
            ),
        ),
        (
            "We received 1,204 complaints and 866 compliments. Most complaints were about delays, dirty toilets, loud "
            "music in the lounge and the lack of parking at Dunmore. The average answer took three days; two years "
            "ago it took nine.",
            'One traveller wrote: "The steward found my daughter\'s lost teddy bear and posted it to our hotel." '
            'Another was less content: "I queued for forty minutes in the rain, and nobody could tell me why."',
            "As a result the toilets are now cleaned every two hours, quiet cabins without music were opened on three "
            "ships, and waiting travellers are informed by text message. Wheelchair users asked for wider doors; they "
            "will be fitted next winter.",
        ),
    ),
    Chapter(
        "On board",
        "Kitchen and catering",
        (
            "The restaurants and cafes on our ships served 612,000 meals. Fish soup is the favourite dish on every "
            "route, followed by potato pancakes. All bread is baked on board, and coffee is roasted on Skerry.",
        ),
        (
            Tabulation(
                "Best-selling dishes and drinks",
                ("Dish", "Portions", "Price"),
                (
                    ("Fish soup with bread", "94,300", "8.90"),
                    ("Potato pancakes with apple", "71,800", "6.50"),
                    ("Cheese sandwich", "68,200", "4.80"),
                    ("Lentil curry", "32,700", "7.90"),
                    ("Grilled salmon", "27,100", "13.50"),
                    ("Chocolate cake", "58,900", "3.90"),
                    ("Coffee", "402,000", "2.40"),
                    ("Elderflower lemonade", "66,500", "2.90"),
                ),
            ),
        ),
        (
            "Four of ten dishes are vegetarian. Vegetables, milk and eggs come from nineteen farms on the islands; the "
            "salmon is smoked in Fairhaven. The cooks threw away 11 percent less food than last year, because soup "
            "and salad are now sold by weight.",
            "The breakfast buffet on the night route was so popular that it is now offered on Sundays as well. Plastic "
            "cutlery has been replaced by metal, and paper cups by a mug that can be returned on any ship.",
        ),
    ),
    Chapter(
        "Investment",
        "The new pier",
        (
            "In March work began on a concrete pier at Dunmore, the largest building project of the company. It will "
            "be 240 metres long and let two ships load at once. Divers drove the first steel piles in May.",
        ),
        (
            Tabulation(
                "Construction budget, millions",
                ("Part", "Budget", "Spent", "Finished"),
                (
                    ("Dredging the basin", "4.2", "4.4", "June 2024"),
                    ("Steel piles", "6.8", "6.1", "October 2024"),
                    ("Concrete deck", "9.5", "2.7", "May 2025"),
                    ("Loading ramps", "5.1", "0.6", "August 2025"),
                    ("Waiting hall", "3.9", "0.2", "March 2026"),
                    ("Total", "29.5", "14.0", ""),
                ),
            ),
        ),
        (
            "The contractor, Halvorsen and Pike, works with two cranes and a floating excavator. Granite for the "
            "breakwater comes from the quarry at Hollow Hill. An architect from Fairhaven designed the waiting hall "
            "with a timber roof covered in grass.",
            "The project is four weeks late, since a wreck from the nineteenth century was discovered in the basin. "
            "Archaeologists lifted its anchor and a bronze bell, which will be shown in the waiting hall. Half of the "
            "cost is met by a loan over twenty years, a quarter by a regional grant.",
        ),
    ),
    Chapter(
        "Finance",
        "Balance sheet",
        (
            "Total assets grew to 118.6 million. Borrowing for the pier raised the debt, yet equity still covers 52 "
            "percent of all assets. Cash was sufficient for 87 days of expenses.",
        ),
        (
            Tabulation(
                "Balance sheet at 31 December, millions",
                ("Item", "2023", "2024"),
                (
                    ("Ships and equipment", "71.2", "68.4"),
                    ("Land, buildings and pier", "16.0", "29.3"),
                    ("Inventories", "2.1", "2.3"),
                    ("Receivables", "5.4", "5.6"),
                    ("Cash in bank", "11.7", "13.0"),
                    ("Total assets", "106.4", "118.6"),
                    ("Share capital", "20.0", "20.0"),
                    ("Retained earnings", "38.1", "41.7"),
                    ("Bank loans", "32.6", "40.8"),
                    ("Trade payables", "9.3", "9.9"),
                    ("Other liabilities", "6.4", "6.2"),
                    ("Total equity and liabilities", "106.4", "118.6"),
                ),
            ),
        ),
        (
            "Ships are depreciated in equal parts over 25 years and buildings over 40. Interest of 1.3 million was "
            "paid at an average rate of 3.6 percent. The auditors, Lindqvist and Partners, have examined the accounts "
            "and issued an opinion without reservation. Corporate tax amounted to 1.1 million.",
        ),
    ),
    Chapter(
        "Finance",
        "Insurance and pensions",
        (
            "Each ship is insured for its market value against shipwreck, fire and collision. Liability towards "
            "passengers is covered up to 300 million for one event by a mutual insurance club.",
            "Premiums rose by 12 percent to 1.9 million, because insurers everywhere pay more for storm damage. Three "
            "claims were settled; the largest, 84,000, was for a lorry that tipped over on the car deck.",
        ),
        (
            Tabulation(
                "Pension fund, millions",
                ("Item", "2023", "2024"),
                (
                    ("Assets of the fund", "44.1", "47.5"),
                    ("Pensions promised", "46.0", "46.9"),
                    ("Surplus or deficit", "-1.9", "+0.6"),
                    ("Pensions paid", "2.0", "2.1"),
                    ("Pensioners, number", "163", "168"),
                ),
            ),
        ),
        (
            "The pension fund returned to surplus. It holds government bonds, shares and two office buildings, and "
            "its trustees have decided to sell all shares of coal companies. Employees contribute 6 percent of their "
            "salary and the company 9 percent; retirement begins at 66.",
            "New employees may choose a savings plan instead. An actuary values the fund every third year, most "
            "recently in October; he assumes that pensioners live to the age of 86 on average.",
        ),
    ),
    Chapter(
        "Environment",
        "Whales and seabirds",
        (
            "Marlow Sound is the home of 260 porpoises, a small group of killer whales and, in autumn, humpback "
            "whales. Biologists of the university travel on our bridges and count every animal that they see.",
        ),
        (
            Tabulation(
                "Animals counted from our ships",
                ("Species", "2022", "2023", "2024"),
                (
                    ("Harbour porpoise", "1,920", "2,044", "2,310"),
                    ("Killer whale", "38", "41", "36"),
                    ("Humpback whale", "12", "17", "25"),
                    ("Grey seal", "3,870", "4,102", "4,415"),
                    ("Puffin", "8,450", "7,930", "8,120"),
                    ("White-tailed eagle", "19", "23", "31"),
                ),
            ),
        ),
        (
            "Captains slow down to ten knots within a mile of a whale and report its position to other ships. No "
            "collision was recorded. The lights on deck are dimmed during the bird migration, since dazzled birds "
            "used to strike the windows.",
            "On the cliffs of Gull Rock puffins raise their chicks in burrows. With our help the rats that ate the "
            "eggs were removed from the island, and the colony is growing again. Underwater microphones show that "
            "Aurora is quieter than older ships, which matters to animals that find their prey by sound.",
        ),
    ),
    Chapter(
        "Technology",
        "Computers and booking website",
        (
            "Three quarters of all tickets are now bought online. The new booking website, opened in February, loads "
            "in under a second and works without a password: travellers confirm a code sent to their telephone.",
        ),
        (
            Lines(
                "Tickets sold by channel, per cent",
                ("2019", "2020", "2021", "2022", "2023", "2024"),
                (
                    ("Website", (31, 44, 52, 58, 66, 75)),
                    ("Ticket office", (57, 44, 36, 31, 24, 17)),
                    ("Telephone", (12, 12, 12, 11, 10, 8)),
                ),
                80,
            ),
        ),
        (
            "The old database server was replaced by two machines in separate buildings, each of which can run the "
            "company alone. Backups are made every hour and restored for practice twice a year. In July criminals "
            "tried to enter the network with a forged email; the attack was noticed within minutes and no data was "
            "lost.",
            "Wireless internet is free on all ships. It uses satellites on the northern route and masts on the "
            "others. Passwords of employees were replaced by security keys, and programmers removed 140,000 lines of "
            "old software that printed timetables.",
        ),
    ),
)
