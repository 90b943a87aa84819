"""What codes mean to a resident, in both languages, and what to do."""

from typing import Final

Pair = tuple[str, str]

STATES: Final[dict[str, Pair]] = {
    "form_sent": (
        "申請書が発行されています。まだ申請されていません",
        "The form was issued; nothing has been applied for yet",
    ),
    "received": ("申請を受け付けました。審査中です", "The application was received and is being checked"),
    "checked": (
        "写真と内容の確認が終わりました。承認を待っています",
        "The application was checked and waits for approval",
    ),
    "rejected": (
        "申請に不備があります。写真を替えて、もう一度申請できます",
        "Something is wrong; apply again with another photo",
    ),
    "accepted": ("申請が承認されました", "The application was accepted"),
}
CARDS: Final[dict[str, Pair]] = {
    "ordered": ("カードを作っています", "The card is being made"),
    "made": (
        "カードができました。市区町村へ送る準備をしています",
        "The card is made and will be sent to your municipality",
    ),
    "shipped": ("カードを市区町村へ送りました", "The card is on its way to your municipality"),
    "received": ("市区町村に届きました。交付の準備をしています", "Your municipality has the card and prepares it"),
    "set_up": (
        "受け取れます。交付通知書をお持ちになり、窓口へおいでください",
        "Ready: come to the counter with the notice",
    ),
    "in_use": ("お渡ししました。お使いいただけます", "Handed over and in use"),
    "suspended": ("一時停止中です", "Suspended"),
}
FINDINGS: Final[dict[str, Pair]] = {
    "photo.none": ("写真が選ばれていません。写真を選んでください", "No photo was chosen: choose one"),
    "photo.not_jpeg": (
        "JPEG形式の写真ではありません。スマートフォンで撮った写真をお使いください",
        "Not a JPEG: use a photo taken with a telephone",
    ),
    "photo.file_too_small": (
        "写真が粗すぎます。もっと大きく撮った写真をお使いください",
        "Too coarse: use a larger photo",
    ),
    "photo.file_too_large": ("写真のファイルが大きすぎます（12MBまで）", "The file is too large (12 MB at most)"),
    "photo.too_few_pixels": (
        "写真が小さすぎます（縦横とも480画素以上）",
        "Too small: 480 pixels at least on each side",
    ),
    "photo.too_many_pixels": ("写真の画素数が多すぎます", "Too many pixels"),
    "photo.too_complex": (
        "この写真は読み取れません。別の写真をお使いください",
        "This photo cannot be read: use another one",
    ),
    "photo.damaged": ("写真のファイルが壊れています。別の写真をお使いください", "The file is damaged: use another one"),
    "photo.colours": (
        "色の形式が違います。スマートフォンで撮った写真をお使いください",
        "Unusual colours: use a photo from a telephone",
    ),
    "photo.aspect": ("写真の縦と横の比率が合いません", "The shape of the photo does not fit"),
    "photo.blank": ("写真に何も写っていないようです", "The photo seems to show nothing"),
    "resident.unknown": (
        "住民の記録が見つかりません。住所地の市区町村にお問い合わせください",
        "There is no record of the resident: ask your municipality",
    ),
    "resident.left_register": (
        "住民の記録が除かれています。住所地の市区町村にお問い合わせください",
        "The resident has left the register: ask your municipality",
    ),
    "card.already_held": (
        "すでにカードをお持ちです。失くした場合は、先に紛失を届け出てください",
        "You have a card: if it is lost, report that first",
    ),
}
ERRORS: Final[dict[str, tuple[Pair, Pair]]] = {
    "application.holder_unknown": (
        (
            "申請書IDと生年月日の組み合わせが確認できませんでした。カードは止まっていません",
            "Application ID and birth date do not belong together. The card was not suspended",
        ),
        (
            "もう一度確かめるか、電話または窓口で届け出てください（24時間受付）",
            "Check both, or report by telephone (24 hours) or at the counter",
        ),
    ),
    "application.too_many_tries": (
        (
            "間違いが続いたため、この画面からの届出を1日止めています。カードは止まっていません",
            "After several mistakes this page takes no report for a day. The card was not suspended",
        ),
        ("お急ぎのときは、電話または窓口で届け出てください", "Report by telephone or at the counter"),
    ),
    "application.no_card_in_use": (
        (
            "お使いになれるカードがないため、止めるものがありません",
            "There is no card in use, so there is nothing to suspend",
        ),
        ("カードの状態は「申請の状況」で確かめられます", "Follow the application to see how the card does"),
    ),
    "application.wrong_state": (
        ("この申請はすでに受け付けられています", "This application was received before"),
        ("「申請の状況」で確かめてください", "Follow the application"),
    ),
    "portal.form_too_large": (
        ("送られた内容が大きすぎます。何も受け付けていません", "What was sent is too large. Nothing was received"),
        ("12MBまでの写真をお使いください", "Use a photo of at most 12 MB"),
    ),
}
_UNKNOWN: Final[tuple[Pair, Pair]] = (
    (
        "ただいま処理できませんでした。受け付けられたかどうかは「申請の状況」で分かります",
        "This could not be done now. Following the application tells whether it was received",
    ),
    (
        "しばらくしてから、同じ画面でもう一度送ってください。二重に受け付けられることはありません",
        "Send the same page again in a while: nothing is received twice",
    ),
)


class Words:
    """In one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._side = 1 if language == "en" else 0

    def choose(self, japanese: str, english: str) -> str:
        """The text in this language."""
        return english if self._side else japanese

    def state(self, code: str) -> str:
        """Of an application."""
        return STATES[code][self._side]

    def card(self, code: str) -> str:
        """Of a card."""
        return CARDS[code][self._side] if code in CARDS else code

    def finding(self, code: str) -> str:
        """What is wrong with an application."""
        return FINDINGS[code][self._side] if code in FINDINGS else code

    def error(self, code: str) -> str:
        """What happened."""
        return ERRORS.get(code, _UNKNOWN)[0][self._side]

    def next(self, code: str) -> str:
        """What to do now."""
        return ERRORS.get(code, _UNKNOWN)[1][self._side]
