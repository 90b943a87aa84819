"""Parts of names and addresses. Common parts, combined at random: a whole that is somebody's name is chance.

Names are (as written, katakana). The rare ones hold characters outside JIS levels 1 and 2, where the old systems broke.
"""

Pair = tuple[str, str]


def _pairs(text: str) -> tuple[Pair, ...]:
    return tuple((written, kana) for written, kana in (item.split("/") for item in text.split()))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FAMILY = _pairs("""
佐藤/サトウ 鈴木/スズキ 高橋/タカハシ 田中/タナカ 伊藤/イトウ 渡辺/ワタナベ 山本/ヤマモト 中村/ナカムラ
小林/コバヤシ 加藤/カトウ 吉田/ヨシダ 山田/ヤマダ 佐々木/ササキ 山口/ヤマグチ 松本/マツモト 井上/イノウエ
木村/キムラ 林/ハヤシ 斎藤/サイトウ 清水/シミズ 山崎/ヤマザキ 森/モリ 池田/イケダ 橋本/ハシモト 阿部/アベ
石川/イシカワ 前田/マエダ 藤田/フジタ 小川/オガワ 岡田/オカダ 後藤/ゴトウ 長谷川/ハセガワ 村上/ムラカミ
近藤/コンドウ 石井/イシイ 坂本/サカモト 遠藤/エンドウ 青木/アオキ 藤井/フジイ 西村/ニシムラ 福田/フクダ
太田/オオタ 三浦/ミウラ 藤原/フジワラ 岡本/オカモト 松田/マツダ 中川/ナカガワ 中野/ナカノ 原田/ハラダ
小野/オノ 金城/キンジョウ 比嘉/ヒガ 五十嵐/イガラシ 久保田/クボタ 東海林/ショウジ 小鳥遊/タカナシ
二階堂/ニカイドウ 一/ニノマエ
""")
RARE_FAMILY = _pairs("""
髙橋/タカハシ 𠮷田/ヨシダ 﨑山/サキヤマ 渡邉/ワタナベ 渡邊/ワタナベ 齋藤/サイトウ 濵田/ハマダ 德永/トクナガ
塚﨑/ツカザキ 𠮷﨑/ヨシザキ 桒原/クワバラ 栁田/ヤナギダ 冨髙/トミタカ 𡈽屋/ツチヤ
""")
FEMALE_ELDER = _pairs("""
和子/カズコ 幸子/サチコ 節子/セツコ 洋子/ヨウコ 弘子/ヒロコ 美智子/ミチコ 文子/フミコ トメ/トメ キヨ/キヨ
ヨシ/ヨシ
""")
MALE_ELDER = _pairs("""
清/キヨシ 勇/イサム 茂/シゲル 正/タダシ 昭/アキラ 進/ススム 弘/ヒロシ 三郎/サブロウ 義雄/ヨシオ
正一/ショウイチ
""")
FEMALE_ADULT = _pairs("""
恵子/ケイコ 由美子/ユミコ 真由美/マユミ 明美/アケミ 陽子/ヨウコ 智子/トモコ 久美子/クミコ 裕子/ユウコ 愛/アイ
香織/カオリ 麻衣/マイ 彩/アヤ 千尋/チヒロ 美穂/ミホ 舞/マイ さくら/サクラ
""")
MALE_ADULT = _pairs("""
誠/マコト 浩/ヒロシ 隆/タカシ 健一/ケンイチ 大輔/ダイスケ 直樹/ナオキ 剛/ツヨシ 学/マナブ 翔太/ショウタ
拓也/タクヤ 健太/ケンタ 亮/リョウ 達也/タツヤ 和也/カズヤ 洋平/ヨウヘイ 修/オサム
""")
FEMALE_CHILD = _pairs("""
陽葵/ヒマリ 凛/リン 結菜/ユイナ 芽依/メイ 紬/ツムギ 咲良/サクラ 葵/アオイ ひなた/ヒナタ 心春/コハル 澪/ミオ
""")
MALE_CHILD = _pairs("""
蓮/レン 陽翔/ハルト 湊/ミナト 蒼/アオ 樹/イツキ 朝陽/アサヒ 悠真/ユウマ 大和/ヤマト 律/リツ そら/ソラ
""")

FOREIGN_FAMILY = _pairs("""
SMITH/スミス NGUYEN/グエン SANTOS/サントス KIM/キム TANAKA-SILVA/タナカ=シルバ GARCIA/ガルシア MULLER/ミュラー
SINGH/シン OKONKWO/オコンクォ DUBOIS/デュボワ SHRESTHA/シュレスタ O'BRIEN/オブライエン
""")
FOREIGN_FEMALE = _pairs("""
MARIA/マリア ANNA/アンナ LINH/リン JIWOO/ジウ PRIYA/プリヤ SOPHIE/ソフィー ADA/アダ EMILY/エミリー
""")
FOREIGN_MALE = _pairs("""
JOHN/ジョン MINH/ミン CARLOS/カルロス JUNHO/ジュンホ ARJUN/アルジュン LUCAS/ルーカス PIERRE/ピエール
EMEKA/エメカ
""")

TOWNS = _words("""
見本町 架空町 例示ヶ丘 仮名台 雛形町 割符町 印形通 模擬野 試作新田 合札坂 控帳町 写絵町 字母台 帳合橋 鋳型町
下書町
""")
"""Invented: words for sample, fiction and copy."""
BUILDINGS = _words("""
コーポ見本 ハイツ架空 メゾン雛形 割符レジデンス グランドール例示ヶ丘
""")
