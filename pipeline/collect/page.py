"""Web pages around a document: several layouts, each with navigation, adverts, a cookie note and a footer.

Everything around the document is boilerplate, and its pieces are handed back with the page as the planted spans.
"""

import random
from dataclasses import dataclass
from html import escape

SITES = (
    ("Story Garden", "story-garden.example", "tales"),
    ("The Reading Owl", "reading-owl.example", "stories"),
    ("Bedtime Corner", "bedtime-corner.example", "archive"),
    ("Little Lantern", "little-lantern.example", "read"),
    ("Storybook Lane", "www.storybook-lane.example", "shelf"),
)
MENUS = (
    ("Home", "New stories", "All authors", "About us", "Contact"),
    ("Start page", "Browse by letter", "Most read this week", "Log in", "Register"),
    ("Main menu", "Animals", "Fairy tales", "Songs and rhymes", "Search this site"),
    ("Front page", "Newsletter", "Our shop", "For teachers", "Help and support"),
)
COOKIES = (
    "We use cookies to make this site work better for you. Read our cookie policy or change your settings.",
    "This website stores small files on your device. By going on you accept our use of cookies.",
    "Your privacy matters to us. We and our 127 partners store information on your device.",
    "Cookies help us show you pages that you like. Accept all cookies?",
)
ADVERTS = (
    "Advertisement: Soft beds for small bears, now with two pillows. Order before Sunday!",
    "Sponsored: Learn the piano in thirty days with our new course.",
    "Advertisement: Warm winter boots at half price, only this week.",
    "Sponsored: Holidays by the sea for the whole family. Book early and save.",
    "Advertisement: Crayons that never break. Try them for free.",
    "Promoted: Ten things about honey that your doctor never told you.",
)
ASIDES = (
    "You may also like: The hat that could sing. Three mice on a boat. The very last apple.",
    "Related stories: A bridge for the ants. The clock that ran away. Snow in the kitchen.",
    "Popular right now: The giant's spoon. Why the crow is black. A coat for the moon.",
    "Read next: The bell under the lake. Seven small pancakes. The dog who could count.",
)
FOOTERS = (
    "Copyright 2024 {site}. All rights reserved. Terms of use. Privacy policy.",
    "{site} is run by volunteers. Imprint. Data protection. Sitemap.",
    "All texts belong to their authors. Report a problem with this page to the {site} team.",
    "Follow {site} on our channels and share this page with your friends.",
)


@dataclass(frozen=True, kw_only=True)
class Furniture:
    """What stands around a document, as HTML."""

    site: str
    menu: tuple[str, ...]
    cookie: str
    advert: str
    aside: str
    footer: str


def address(rng: random.Random, number: int, title: str) -> tuple[str, str]:
    """The site's name and the URL of a page; the number makes the URL unique."""
    site, host, section = rng.choice(SITES)
    slug = "-".join("".join(sign if sign.isalnum() else " " for sign in title.lower()).split())
    return site, f"https://{host}/{section}/{number:06d}-{slug}.html"


def render(rng: random.Random, site: str, title: str, text: str) -> tuple[str, tuple[str, ...]]:
    """The page with the text, a paragraph a line, and the texts around it."""
    menu, cookie, advert = rng.choice(MENUS), rng.choice(COOKIES), rng.choice(ADVERTS)
    aside, footer = rng.choice(ASIDES), rng.choice(FOOTERS).format(site=site)
    around = Furniture(
        site=escape(site),
        menu=tuple(escape(entry) for entry in menu),
        cookie=escape(cookie),
        advert=escape(advert),
        aside=escape(aside),
        footer=escape(footer),
    )
    # Quotes need no escape between tags, and people's editors leave them alone.
    paragraphs = [f"<p>{escape(line.strip(), quote=False)}</p>" for line in text.split("\n") if line.strip()]
    body = rng.choice((classic, blog, divisions, magazine))(rng, around, paragraphs)
    head = (
        f'<meta charset="utf-8">\n<title>{escape(title)} - {escape(site)}</title>\n'
        "<style>body { max-width: 60em } .ad { float: right }</style>\n"
        "<script>window.pageViews = (window.pageViews || 0) + 1;</script>"
    )
    html = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    return html, (advert, cookie, *menu, aside, footer)


def classic(rng: random.Random, around: Furniture, paragraphs: list[str]) -> str:
    """Header, article, aside and footer, as HTML5 has them; the advert stands somewhere inside the article."""
    at = rng.randint(0, len(paragraphs))
    inner = [*paragraphs[:at], f'<div class="advert"><p>{around.advert}</p></div>', *paragraphs[at:]]
    return "\n".join(
        [
            f'<div id="cookie-banner" class="cookie-banner">{around.cookie} <button>OK</button></div>',
            f'<header class="site-header"><a href="/">{around.site}</a><nav>{links(around, "li")}</nav></header>',
            '<main><article class="story">',
            *inner,
            "</article></main>",
            f'<aside class="sidebar">{around.aside}</aside>',
            f"<footer>{around.footer}</footer>",
        ]
    )


def blog(rng: random.Random, around: Furniture, paragraphs: list[str]) -> str:
    """A blog post with a sidebar before it."""
    return "\n".join(
        [
            f'<div class="navbar"><a class="brand" href="/">{around.site}</a> {links(around, "span")}</div>',
            f'<div class="widget sidebar"><div class="ads">{around.advert}</div>',
            f'<div class="related-posts">{around.aside}</div></div>',
            '<div id="content" class="post-content entry-content">',
            *paragraphs,
            "</div>",
            f'<div id="footer" class="footer">{around.footer}</div>',
            f'<div class="cookie-consent" role="dialog">{around.cookie}</div>',
        ]
    )


def divisions(rng: random.Random, around: Furniture, paragraphs: list[str]) -> str:
    """An old page: divisions only, a menu list above, everything else below the text."""
    return "\n".join(
        [
            f'<div id="wrapper"><div id="header">{around.site}</div>',
            f'<ul class="menu">{links(around, "li")}</ul>',
            f'<div class="banner ad">{around.advert}</div>',
            '<div id="main" role="main">',
            *paragraphs,
            "</div>",
            f'<div class="related">{around.aside}</div>',
            f'<div class="site-footer">{around.footer}</div></div>',
            f'<div class="gdpr-cookie-notice">{around.cookie}</div>',
        ]
    )


def magazine(rng: random.Random, around: Furniture, paragraphs: list[str]) -> str:
    """A newspaper's page: sections with roles, an advert before the article and other stories after it."""
    return "\n".join(
        [
            f'<div role="banner"><p class="logo">{around.site}</p></div>',
            f'<div role="navigation" class="nav">{links(around, "span")}</div>',
            f'<section class="promo sponsored">{around.advert}</section>',
            '<article itemprop="articleBody">',
            *paragraphs,
            "</article>",
            f'<section class="recommended"><p>{around.aside}</p></section>',
            f'<div role="contentinfo" class="footer">{around.footer}</div>',
            f'<div class="cookies popup">{around.cookie}</div>',
        ]
    )


def links(around: Furniture, tag: str) -> str:
    """The menu's entries as links, each in a tag of its own."""
    return "".join(f'<{tag}><a href="/{number}">{entry}</a></{tag}>' for number, entry in enumerate(around.menu))
