"Everything about the package stands in settings.ini; this file only reads it."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

END = '_requirements'
extras = {k.removesuffix(END): cfg[k].split() for k in cfg if k.endswith(END)}
extras['dev'] = sum(extras.values(), [])

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'].split(),
    author=cfg['author'], author_email=cfg['author_email'],
    url=cfg['git_url'],
    license='Apache-2.0', license_files=['LICENSE'],
    packages=find_packages(include=['fer_nbdev', 'fer_nbdev.*']),
    package_data={'fer_nbdev': ['weights/*', 'assets/*']},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    entry_points={'console_scripts': cfg.get('console_scripts', '').split(),
                  'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    classifiers=['Programming Language :: Python :: 3', 'Intended Audience :: Developers',
                 'Topic :: Scientific/Engineering :: Image Recognition'],
    zip_safe=False,
)
