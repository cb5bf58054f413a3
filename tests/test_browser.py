"The site in Chromium: it opens, finds, reacts, fits a phone, and talks to nobody"
import re
from contextlib import contextmanager
import pytest


@pytest.fixture(scope='module')
def address(site, static_server): return static_server(site)


@pytest.fixture
def visit(chromium, address):
    """`with visit('core.html', width=1300, scheme='light') as page`. At its end no request has
    left localhost, and no error stands in the console"""
    @contextmanager
    def _visit(name, width=1300, scheme='light'):
        with chromium() as browser:
            size = dict(width=width, height=850)
            page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
            outside, errors = [], []
            ours = (address, 'data:', 'blob:')
            page.on('request', lambda r: r.url.startswith(ours) or outside.append(r.url))
            page.on('console', lambda m: m.type != 'error' or errors.append(m.text))
            page.on('pageerror', lambda e: errors.append(str(e)))
            page.on('response', lambda r: r.status < 400 or errors.append(f'{r.status} {r.url}'))
            page.goto(address+name)
            yield page
            assert not outside and not errors
    return _visit


def test_front_page_opens(visit):
    with visit('index.html') as page:
        assert page.locator('h1').inner_text() == 'fer_nbdev'
        assert page.locator('main img').first.evaluate('i => i.complete && i.naturalWidth') > 50
        title = page.locator('.turn .next').evaluate('a => a.lastChild.textContent').strip()
        page.click('.turn .next')
        page.wait_for_selector(f'h1:text("{title}")')


def search(page, words):
    "Type `words`, and wait for what is found"
    page.keyboard.press('/')
    page.keyboard.type(words)
    page.wait_for_function("!document.getElementById('ui-results').hidden")
    page.wait_for_timeout(1500)
    return page.locator('#ui-results')


def test_search_finds_grad_cam(visit):
    with visit('index.html') as page:
        hit = search(page, 'Grad-CAM').locator('a[href*="gradcam.html"]').first
        hit.click()
        page.wait_for_url('**/gradcam.html*')


def test_search_leads_to_the_place_of_a_name(visit):
    "Enter opens the first hit: the box of an exported name"
    with visit('index.html') as page:
        first = search(page, 'fer_learner').locator('a').first
        assert first.inner_text() == 'fer_learner'
        page.keyboard.press('Enter')
        page.wait_for_url('**/*.html#fer_learner')
        top = page.locator('[id="fer_learner"]').bounding_box()['y']
        assert 50 < top < 200


@pytest.mark.parametrize('words', ['faer', 'xyzzy', 'happy xyzzy'])
def test_search_says_when_there_is_nothing(visit, words):
    with visit('core.html') as page:
        assert search(page, words).inner_text() == 'Nothing found'


def test_search_knows_other_forms_of_a_word(visit):
    with visit('core.html') as page:
        assert search(page, 'trained networks').locator('a').count() > 1


def test_plotly_reacts(visit):
    "The mouse over a point: its label appears"
    with visit('eda.html') as page:
        figure = page.locator('.plotly-figure').first
        figure.scroll_into_view_if_needed()
        figure.locator('.main-svg').first.wait_for()
        box = figure.locator('.nsewdrag').first.bounding_box()
        label = page.locator('.hoverlayer .hovertext')
        assert not label.count()
        for i in range(1, 20):
            for j in range(1, 20): # wherever the points are, one of these is near
                x, y = box['x']+box['width']*j/20, box['y']+box['height']*i/20
                page.mouse.move(x, y)
                if label.count(): return
            page.wait_for_timeout(60)
            if label.count(): return
        raise AssertionError('no label appeared anywhere over the figure')


def test_plotly_s_buttons_are_whole_and_none_uploads(visit):
    with visit('eda.html') as page:
        page.locator('.plotly-figure .main-svg').first.wait_for()
        page.locator('.plotly-figure').first.hover()
        titles = page.eval_on_selector_all('.modebar-btn', 'b => b.map(e => e.dataset.title)')
        outward = [t for t in titles if re.search('cloud|share|plotly', t, re.I)]
        assert titles and not outward, titles
        icon = page.locator('.modebar-btn svg').first
        assert icon.evaluate('s => getComputedStyle(s).display') != 'grid'
        assert icon.bounding_box()['height'] < 25


def test_legends_are_inside_their_figures_on_a_phone(visit):
    with visit('eda.html', width=390) as page:
        page.locator('.plotly-figure .main-svg').first.wait_for()
        boxes = page.eval_on_selector_all('.plotly-figure .legend', '''all => all.map(l => {
            const a = l.getBoundingClientRect()
            const b = l.closest('.plotly-figure').getBoundingClientRect()
            return [a.left-b.left, b.right-a.right, a.top-b.top, b.bottom-a.bottom] })''')
        assert boxes
        for gaps in boxes: assert min(gaps) >= -1, gaps


def test_no_page_scrolls_sideways_on_a_phone(visit, site, address):
    with visit('index.html', width=390) as page:
        for f in sorted(site.rglob('*.html')):
            page.goto(address + f.relative_to(site).as_posix())
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.evaluate('scrollTo(9999, 0)')
            width = page.evaluate('[document.documentElement.scrollWidth, scrollX]')
            assert width == [390, 0], f.name


def test_details_of_an_api_table_are_on_a_phone_s_screen(visit):
    with visit('losses.html', width=390) as page:
        right = page.eval_on_selector_all(
            '.api td:last-child', 'all => all.map(e => e.getBoundingClientRect().right)')
        assert len(right) > 10 and max(right) <= 390


def test_what_scrolls_fades_until_its_end_is_seen(visit):
    with visit('core.html', width=390) as page:
        page.wait_for_timeout(300)
        wide = page.locator('main .more').first
        wide.evaluate('e => { window.wide = e; e.scrollLeft = 99999 }')
        page.wait_for_timeout(300)
        assert not page.evaluate("window.wide.classList.contains('more')")


def test_a_hundred_characters_of_code_fit_on_a_laptop(visit):
    with visit('quality.html', width=1300) as page:
        wide = page.eval_on_selector_all('main > div.sourceCode pre', """all => all.filter(
            p => p.scrollWidth > p.clientWidth+1).map(p => p.innerText)""")
        assert page.locator('main > div.sourceCode pre').count() > 50 and not wide, wide


def test_contents_slide_in_on_a_phone(visit):
    with visit('core.html', width=390) as page:
        link = page.locator('.side a[href="data.html"]')
        assert not link.is_visible()
        page.click('#ui-menu')
        link.wait_for(state='visible')
        page.wait_for_timeout(250)
        assert page.locator('.side').bounding_box()['x'] >= 0
        link.click()
        page.wait_for_url('**/data.html')


def brightness(page):
    "Of the page, 0 to 765"
    color = page.evaluate('getComputedStyle(document.body).backgroundColor')
    return sum(map(int, re.findall(r'\d+', color)[:3]))


def test_dark_is_the_system_s_until_chosen_and_then_remembered(visit):
    with visit('core.html', scheme='dark') as page:
        assert brightness(page) < 150
        page.click('#ui-theme')
        assert brightness(page) > 600
        page.reload()
        assert brightness(page) > 600


FAINT = """() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const rgba = color => { // as a number for each channel, whatever way it is written in
    pen.clearRect(0, 0, 1, 1)
    pen.fillStyle = color
    pen.fillRect(0, 0, 1, 1)
    return [...pen.getImageData(0, 0, 1, 1).data] }
  const over = (top, below) => [0, 1, 2].map(
    i => top[i]*top[3]/255 + below[i]*(1-top[3]/255))
  const light = c => [.2126, .7152, .0722].reduce((sum, w, i) => {
    const v = c[i]/255
    return sum + w*(v <= .04045 ? v/12.92 : ((v+.055)/1.055)**2.4) }, 0)
  const ground = e => {
    const own = rgba(getComputedStyle(e).backgroundColor)
    return own[3] > 250 || !e.parentElement ? own : over(own, ground(e.parentElement)) }
  const found = []
  for (const e of document.querySelectorAll('body *')) {
    const words = [...e.childNodes].filter(n => n.nodeType == 3 && n.data.trim())
    if (!words.length || !e.offsetParent || e.closest('svg, math, script')) continue
    const below = ground(e)
    const [a, b] = [light(over(rgba(getComputedStyle(e).color), below)), light(below)]
    const contrast = (Math.max(a, b)+.05)/(Math.min(a, b)+.05)
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${words[0].data.trim()}`)
  }
  return found }"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_words_stand_out_from_their_ground(visit, scheme):
    "4.5 to 1, as WCAG asks for (level AA): text, code, tables, API boxes, folded solutions"
    with visit('losses.html', scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert not page.evaluate(FAINT)
        page.evaluate("document.body.style.color = '#777'")
        assert page.evaluate(FAINT), 'the measure finds faint words'


def test_heading_links_and_contents_of_the_page(visit):
    with visit('core.html') as page:
        page.click('.toc a >> nth=1')
        page.wait_for_timeout(150)
        anchor = page.evaluate('decodeURIComponent(location.hash.slice(1))')
        top = page.locator(f'[id="{anchor}"]').bounding_box()['y']
        assert 50 < top < 200 # below the bar
        assert page.locator('.toc a.here').count() == 1
