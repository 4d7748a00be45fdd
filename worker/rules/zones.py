"""Zone names, the zones of a country, and the country a phone number belongs to.

Everything comes from two packages, `tzdata` (the IANA database) and `phonenumbers` (ITU numbering
plans), read once and kept. The zone rules of the machine are not used: the same version of the
program decides the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import phonenumbers

UTC_MIDDAY = "defer_to_utc_midday"
"""In the place of a zone name: nobody knows the zone, send around noon in UTC."""

ZONES_CACHED_MAX = 1_024
PHONES_CACHED_MAX = 8_192

# ISO 3166-1 alpha-3 and alpha-2 side by side: endpoints in the field carry either.
_ALPHA_3_AND_2 = """
ABWAW AFGAF AGOAO AIAAI ALAAX ALBAL ANDAD AREAE ARGAR ARMAM ASMAS ATAAQ ATFTF ATGAG AUSAU AUTAT
AZEAZ BDIBI BELBE BENBJ BESBQ BFABF BGDBD BGRBG BHRBH BHSBS BIHBA BLMBL BLRBY BLZBZ BMUBM BOLBO
BRABR BRBBB BRNBN BTNBT BVTBV BWABW CAFCF CANCA CCKCC CHECH CHLCL CHNCN CIVCI CMRCM CODCD COGCG
COKCK COLCO COMKM CPVCV CRICR CUBCU CUWCW CXRCX CYMKY CYPCY CZECZ DEUDE DJIDJ DMADM DNKDK DOMDO
DZADZ ECUEC EGYEG ERIER ESHEH ESPES ESTEE ETHET FINFI FJIFJ FLKFK FRAFR FROFO FSMFM GABGA GBRGB
GEOGE GGYGG GHAGH GIBGI GINGN GLPGP GMBGM GNBGW GNQGQ GRCGR GRDGD GRLGL GTMGT GUFGF GUMGU GUYGY
HKGHK HMDHM HNDHN HRVHR HTIHT HUNHU IDNID IMNIM INDIN IOTIO IRLIE IRNIR IRQIQ ISLIS ISRIL ITAIT
JAMJM JEYJE JORJO JPNJP KAZKZ KENKE KGZKG KHMKH KIRKI KNAKN KORKR KWTKW LAOLA LBNLB LBRLR LBYLY
LCALC LIELI LKALK LSOLS LTULT LUXLU LVALV MACMO MAFMF MARMA MCOMC MDAMD MDGMG MDVMV MEXMX MHLMH
MKDMK MLIML MLTMT MMRMM MNEME MNGMN MNPMP MOZMZ MRTMR MSRMS MTQMQ MUSMU MWIMW MYSMY MYTYT NAMNA
NCLNC NERNE NFKNF NGANG NICNI NIUNU NLDNL NORNO NPLNP NRUNR NZLNZ OMNOM PAKPK PANPA PCNPN PERPE
PHLPH PLWPW PNGPG POLPL PRIPR PRKKP PRTPT PRYPY PSEPS PYFPF QATQA REURE ROURO RUSRU RWARW SAUSA
SDNSD SENSN SGPSG SGSGS SHNSH SJMSJ SLBSB SLESL SLVSV SMRSM SOMSO SPMPM SRBRS SSDSS STPST SURSR
SVKSK SVNSI SWESE SWZSZ SXMSX SYCSC SYRSY TCATC TCDTD TGOTG THATH TJKTJ TKLTK TKMTM TLSTL TONTO
TTOTT TUNTN TURTR TUVTV TWNTW TZATZ UGAUG UKRUA UMIUM URYUY USAUS UZBUZ VATVA VCTVC VENVE VGBVG
VIRVI VNMVN VUTVU WLFWF WSMWS YEMYE ZAFZA ZMBZM ZWEZW
"""
_ALPHA_2_OF_3: Mapping[str, str] = {pair[:3]: pair[3:] for pair in _ALPHA_3_AND_2.split()}


@cache
def zone_names() -> frozenset[str]:
    """Every IANA zone name, links included; without `Factory`, which means "not set"."""
    return frozenset(_database("zones").split()) - {"Factory"}


@lru_cache(maxsize=ZONES_CACHED_MAX)
def zone_named(name: str) -> ZoneInfo:
    """The rules of a zone of `zone_names()`; the same object for the same name."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def country_of(text: str) -> str:
    """ISO 3166-1 alpha-2 in upper case for `us`, `USA`, ` US `; other text comes back as it was."""
    code = text.strip().upper()
    code = _ALPHA_2_OF_3.get(code, code)
    return code if code in _zones_by_country() else text


def zones_of_country(code: str) -> tuple[str, ...]:
    """All zones of an alpha-2 code in upper case; none for a code that is not a country's."""
    return _zones_by_country().get(code, ())


@lru_cache(maxsize=PHONES_CACHED_MAX)
def zones_of_phone(number: str) -> tuple[str, ...]:
    """All zones where an E.164 number can be at home; none when it names no country.

    The country comes from the number where its plan tells (+1 671 is Guam), else it is every
    country that shares the calling code. A number without `+` is not guessed at: read with the
    wrong calling code it would name a wrong zone with confidence.
    """
    if not number.startswith("+"):
        return ()
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return ()
    region = phonenumbers.region_code_for_number(parsed)
    shared = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    regions = [region] if region else list(shared)
    return tuple(dict.fromkeys(zone for code in regions for zone in zones_of_country(code)))


@cache
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    # zone.tab lists each zone under its one country; zone1970.tab merges countries that have
    # agreed since 1970, which would add zones of neighbours.
    zones: dict[str, tuple[str, ...]] = {}
    for row in _database("zoneinfo", "zone.tab").splitlines():
        if not row.startswith("#"):
            country, _, zone = row.split("\t")[:3]
            zones[country] = (*zones.get(country, ()), zone)
    return zones


def _database(*path: str) -> str:
    return files("tzdata").joinpath(*path).read_text(encoding="utf-8")
