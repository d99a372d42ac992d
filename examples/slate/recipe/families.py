"""Families of typefaces from the npm registry's `@fontsource` packages, and which of them training never sees.

All are under the SIL Open Font License, Apache 2.0 or the Ubuntu Font Licence; `assets.py` checks what each package
says. Knows names only: no files, no pixels.
"""

from __future__ import annotations

import hashlib

__all__ = ["HANDS", "LATER_HANDS", "LATER_PRINTS", "LICENCES", "PRINTS", "held_out"]

LICENCES = ("OFL-1.1", "Apache-2.0", "UFL-1.0")
"""What a package may say; others are left out."""

_PRINTS = """
abeezee abel acme actor alata albert-sans aldrich alegreya-sans aleo alfa-slab-one alumni-sans amaranth anton
antonio archivo archivo-black arimo arvo asap-condensed assistant atkinson-hyperlegible audiowide azeret-mono
b612-mono barlow barlow-condensed barlow-semi-condensed be-vietnam-pro big-shoulders-display bitter black-ops-one
blinker bree-serif bricolage-grotesque cairo cal-sans catamaran chakra-petch changa chivo comfortaa commissioner
cousine crimson-pro darker-grotesque days-one didact-gothic dm-mono dm-serif-text domine eb-garamond
encode-sans-condensed epilogue exo-2 familjen-grotesk figtree fira-code fira-sans fira-sans-condensed
fira-sans-extra-condensed fjalla-one fragment-mono fredoka funnel-sans gabarito geist geist-mono gelasio goldman
gothic-a1 graduate hanken-grotesk heebo hepta-slab hind host-grotesk ibm-plex-mono ibm-plex-serif inconsolata inder
instrument-sans inter-tight iosevka jockey-one josefin-sans jost jura k2d kanit khand kode-mono krona-one kumbh-sans
league-gothic lekton lexend libre-baskerville libre-franklin lilita-one lora m-plus-1p maven-pro merriweather
merriweather-sans metropolis michroma mona-sans monda montserrat mukta mulish nova-square nunito nunito-sans onest
orbitron outfit overpass overpass-mono oxanium oxygen passion-one pathway-extreme patua-one philosopher play
plus-jakarta-sans poppins prompt pt-mono pt-sans pt-sans-narrow pt-serif public-sans quantico questrial
radio-canada-big rajdhani raleway recursive red-hat-display red-hat-mono righteous roboto-mono rokkitt rubik
russo-one saira saira-extra-condensed saira-stencil-one sanchez sarabun schibsted-grotesk sen share-tech signika
sofia-sans sora source-code-pro source-sans-3 source-serif-4 space-mono special-elite special-gothic-expanded-one
spectral staatliches sunflower syne tajawal teko titillium-web tomorrow ubuntu ubuntu-condensed ubuntu-mono
unbounded urbanist varela-round victor-mono vt323 wix-madefor-text yantramanav zilla-slab
"""
_HANDS = """
amatic-sc annie-use-your-telescope architects-daughter bad-script balsamiq-sans bangers bubblegum-sans cabin-sketch
carter-one caveat cedarville-cursive chewy comic-mono comic-relief courgette delicious-handrawn delius finger-paint
freehand gaegu gochi-hand grandstander handlee happy-monkey homemade-apple indie-flower itim kaushan-script
kiwi-maru knewave londrina-solid long-cang mansalva marck-script mouse-memoirs nanum-brush-script nanum-pen-script
neucha playpen-sans poor-story reenie-beanie rock-salt schoolbell shadows-into-light shantell-sans short-stack
sniglet sriracha sue-ellen-francisco swanky-and-moo-moo the-girl-next-door twinkle-star yomogi zen-kurenaido
zhi-mang-xing
"""

_LATER_PRINTS = """
bagel-fat-one baloo-2 black-han-sans capriola corben galindo glory gowun-dodum kalnia lalezar montagu-slab
nanum-gothic-coding peralta pixelify-sans puritan rakkas reem-kufi-fun ribeye scope-one sirin-stencil spicy-rice
trochut ubuntu-sans vina-sans
"""
_LATER_HANDS = """
aladin allura arizonia atma barriecito berkshire-swash boogaloo borel calligraffitti charmonman chelsea-market
coming-soon concert-one crafty-girls darumadrop-one dynalight edu-nsw-act-cursive edu-qld-hand edu-tas-beginner felipa
fondamento gamja-flower grechen-fuemen hi-melody hubballi irish-grover jim-nightshade jolly-lodger kranky
la-belle-aurore lacquer leckerli-one lemon loved-by-the-king lxgw-wenkai-tc mclaren merienda mr-bedfort oleo-script
oregano pacifico playwrite-es playwrite-in playwrite-it-moderna protest-riot ranchers redressed ruluko salsa satisfy
sedgwick-ave sedgwick-ave-display slackside-one spirax square-peg timmana trade-winds unkempt vibur
waiting-for-the-sunrise wellfleet yuji-syuku zcool-kuaile zen-maru-gothic
"""

PRINTS, HANDS = tuple(_PRINTS.split()), tuple(_HANDS.split())
"""Printed typefaces; handwriting, and what is drawn like it."""

LATER_PRINTS, LATER_HANDS = tuple(_LATER_PRINTS.split()), tuple(_LATER_HANDS.split())
"""Those of a second search that are not held out: they train, and the validation sets stay what they were."""


def held_out(family: str) -> bool:
    """Whether a family is kept for validation: half of them are, by a hash of the name, so that nobody chooses."""
    return hashlib.sha256(family.encode()).digest()[0] % 2 == 1
