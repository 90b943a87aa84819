"""Some fifty real municipalities, as places where synthetic residents live.

Codes and names are those of the ministry's list (総務省 全国地方公共団体コード): every prefectural seat, the cities the
sources mention, one town and one village. Not a list of all 1,741. Romaji as JPKI subjects write it (``L=Kiyose-shi``).
"""

from dataclasses import dataclass

from warifu.kernel.errors import NotFound
from warifu.kernel.ids import MunicipalityCode, parse_municipality_code


@dataclass(frozen=True, slots=True)
class Municipality:
    """A municipality that issues cards."""

    code: MunicipalityCode
    prefecture: str
    name: str
    prefecture_romaji: str
    name_romaji: str

    @property
    def code5(self) -> str:
        """The code without its check digit: the form on the chip and in certificate subjects."""
        return self.code[:5]

    @property
    def full_name(self) -> str:
        """Prefecture and municipality, as an address begins."""
        return self.prefecture + self.name


def _row(code: str, prefecture: str, name: str, prefecture_romaji: str, name_romaji: str) -> Municipality:
    return Municipality(parse_municipality_code(code), prefecture, name, prefecture_romaji, name_romaji)


MUNICIPALITIES = (
    _row("011002", "北海道", "札幌市", "Hokkaido", "Sapporo-shi"),
    _row("022012", "青森県", "青森市", "Aomori-ken", "Aomori-shi"),
    _row("032018", "岩手県", "盛岡市", "Iwate-ken", "Morioka-shi"),
    _row("041009", "宮城県", "仙台市", "Miyagi-ken", "Sendai-shi"),
    _row("042153", "宮城県", "大崎市", "Miyagi-ken", "Osaki-shi"),
    _row("052019", "秋田県", "秋田市", "Akita-ken", "Akita-shi"),
    _row("062014", "山形県", "山形市", "Yamagata-ken", "Yamagata-shi"),
    _row("072010", "福島県", "福島市", "Fukushima-ken", "Fukushima-shi"),
    _row("082015", "茨城県", "水戸市", "Ibaraki-ken", "Mito-shi"),
    _row("092011", "栃木県", "宇都宮市", "Tochigi-ken", "Utsunomiya-shi"),
    _row("102016", "群馬県", "前橋市", "Gunma-ken", "Maebashi-shi"),
    _row("111007", "埼玉県", "さいたま市", "Saitama-ken", "Saitama-shi"),
    _row("121002", "千葉県", "千葉市", "Chiba-ken", "Chiba-shi"),
    _row("131016", "東京都", "千代田区", "Tokyo-to", "Chiyoda-ku"),
    _row("131041", "東京都", "新宿区", "Tokyo-to", "Shinjuku-ku"),
    _row("131211", "東京都", "足立区", "Tokyo-to", "Adachi-ku"),
    _row("132217", "東京都", "清瀬市", "Tokyo-to", "Kiyose-shi"),
    _row("141003", "神奈川県", "横浜市", "Kanagawa-ken", "Yokohama-shi"),
    _row("141305", "神奈川県", "川崎市", "Kanagawa-ken", "Kawasaki-shi"),
    _row("141500", "神奈川県", "相模原市", "Kanagawa-ken", "Sagamihara-shi"),
    _row("151009", "新潟県", "新潟市", "Niigata-ken", "Niigata-shi"),
    _row("162019", "富山県", "富山市", "Toyama-ken", "Toyama-shi"),
    _row("172014", "石川県", "金沢市", "Ishikawa-ken", "Kanazawa-shi"),
    _row("182010", "福井県", "福井市", "Fukui-ken", "Fukui-shi"),
    _row("192015", "山梨県", "甲府市", "Yamanashi-ken", "Kofu-shi"),
    _row("202011", "長野県", "長野市", "Nagano-ken", "Nagano-shi"),
    _row("212016", "岐阜県", "岐阜市", "Gifu-ken", "Gifu-shi"),
    _row("221007", "静岡県", "静岡市", "Shizuoka-ken", "Shizuoka-shi"),
    _row("231002", "愛知県", "名古屋市", "Aichi-ken", "Nagoya-shi"),
    _row("242012", "三重県", "津市", "Mie-ken", "Tsu-shi"),
    _row("252018", "滋賀県", "大津市", "Shiga-ken", "Otsu-shi"),
    _row("261009", "京都府", "京都市", "Kyoto-fu", "Kyoto-shi"),
    _row("271004", "大阪府", "大阪市", "Osaka-fu", "Osaka-shi"),
    _row("271403", "大阪府", "堺市", "Osaka-fu", "Sakai-shi"),
    _row("281000", "兵庫県", "神戸市", "Hyogo-ken", "Kobe-shi"),
    _row("292010", "奈良県", "奈良市", "Nara-ken", "Nara-shi"),
    _row("302015", "和歌山県", "和歌山市", "Wakayama-ken", "Wakayama-shi"),
    _row("312011", "鳥取県", "鳥取市", "Tottori-ken", "Tottori-shi"),
    _row("322016", "島根県", "松江市", "Shimane-ken", "Matsue-shi"),
    _row("331007", "岡山県", "岡山市", "Okayama-ken", "Okayama-shi"),
    _row("341002", "広島県", "広島市", "Hiroshima-ken", "Hiroshima-shi"),
    _row("352039", "山口県", "山口市", "Yamaguchi-ken", "Yamaguchi-shi"),
    _row("362018", "徳島県", "徳島市", "Tokushima-ken", "Tokushima-shi"),
    _row("372013", "香川県", "高松市", "Kagawa-ken", "Takamatsu-shi"),
    _row("382019", "愛媛県", "松山市", "Ehime-ken", "Matsuyama-shi"),
    _row("392014", "高知県", "高知市", "Kochi-ken", "Kochi-shi"),
    _row("401005", "福岡県", "北九州市", "Fukuoka-ken", "Kitakyushu-shi"),
    _row("401307", "福岡県", "福岡市", "Fukuoka-ken", "Fukuoka-shi"),
    _row("412015", "佐賀県", "佐賀市", "Saga-ken", "Saga-shi"),
    _row("422011", "長崎県", "長崎市", "Nagasaki-ken", "Nagasaki-shi"),
    _row("423076", "長崎県", "長与町", "Nagasaki-ken", "Nagayo-cho"),
    _row("431001", "熊本県", "熊本市", "Kumamoto-ken", "Kumamoto-shi"),
    _row("442011", "大分県", "大分市", "Oita-ken", "Oita-shi"),
    _row("452017", "宮崎県", "宮崎市", "Miyazaki-ken", "Miyazaki-shi"),
    _row("462012", "鹿児島県", "鹿児島市", "Kagoshima-ken", "Kagoshima-shi"),
    _row("472018", "沖縄県", "那覇市", "Okinawa-ken", "Naha-shi"),
    _row("473014", "沖縄県", "国頭村", "Okinawa-ken", "Kunigami-son"),
)
"""In the order of their codes."""

_BY_CODE = {row.code: row for row in MUNICIPALITIES}


def municipality(code: str) -> Municipality:
    """The municipality of a six-digit code.

    Raises:
        NotFound: not in this table.
    """
    found = _BY_CODE.get(MunicipalityCode(code))
    if found is None:
        raise NotFound("no such municipality in the table")
    return found
