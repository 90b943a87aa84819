"""What codes mean, in both languages: operations, states, steps, PINs, checks, and every error with what to do next."""

import datetime
from typing import Final

from warifu.domain.counter.rules import expected_wait_ms

Pair = tuple[str, str]

OPERATIONS: Final[dict[str, Pair]] = {
    "setup": ("交付前設定", "Pre-delivery setup"),
    "delivery": ("交付", "Delivery"),
    "continuation": ("継続利用", "Continued use after a move"),
    "update": ("券面事項更新", "Update of particulars"),
    "resumption": ("一時停止の解除", "Resumption"),
    "pin_reset": ("暗証番号の初期化・再設定", "PIN reset"),
    "abolition": ("廃止・返納", "Abolition and return"),
    "certificate_renewal": ("電子証明書の発行・更新", "Issue or renewal of certificates"),
}
CARD_STATES: Final[dict[str, Pair]] = {
    "": ("–", "–"),
    "ordered": ("製造待ち", "Ordered"),
    "made": ("製造済", "Made"),
    "shipped": ("納品途中", "On its way"),
    "received": ("納品済（交付前設定待ち）", "Received, waits for setup"),
    "set_up": ("交付前設定済（交付待ち）", "Set up, waits for delivery"),
    "in_use": ("運用中", "In use"),
    "suspended": ("一時停止中", "Suspended"),
    "abolished": ("廃止", "Abolished"),
}
CHIP_STATES: Final[dict[str, Pair]] = {
    "made": ("製造済", "Made"),
    "set_up": ("交付前設定済", "Set up"),
    "in_use": ("運用中", "In use"),
    "suspended": ("一時停止中", "Suspended"),
    "terminated": ("廃止済", "Terminated"),
}
CERTIFICATES: Final[dict[str, Pair]] = {
    "signature": ("署名用電子証明書", "Signature certificate"),
    "authentication": ("利用者証明用電子証明書", "User-authentication certificate"),
    "issued": ("発行済（交付前）", "Issued, not yet usable"),
    "valid": ("有効", "Valid"),
    "revoked": ("失効", "Revoked"),
}
WORK_STATES: Final[dict[str, Pair]] = {
    "running": ("処理中", "Under way"),
    "pins": ("住民の暗証番号入力待ち", "Waits for the resident's PINs"),
    "proof": ("住民の暗証番号照合待ち", "Waits for the resident to prove a PIN"),
    "broken": ("中断", "Broken off"),
    "unknown": ("結果未確認", "Result not known"),
    "busy": ("センター混雑により待機", "Waits: the centre is busy"),
    "done": ("完了", "Done"),
    "abandoned": ("取りやめ", "Given up"),
    "refused": ("実施不可", "Refused"),
}
UNSETTLED: Final[dict[str, Pair]] = {
    "unknown_write": ("最後の書込みがカードに届いたか", "Whether the last write reached the card"),
    "half_done": ("書込みは済み、残りの処理がある", "A write is done, other steps are left"),
}
STEPS: Final[dict[str, Pair]] = {
    "": ("準備", "Preparing"),
    "set_up": ("カードを交付前設定済にする", "Set the card up"),
    "open_windows": ("暗証番号の設定を許可する", "Allow PINs to be set"),
    "enter_pins": ("住民が暗証番号を入力する", "The resident enters PINs"),
    "activate": ("カードと電子証明書を有効にする", "Activate card and certificates"),
    "prove_holder": ("住民が暗証番号を照合する", "The resident proves a PIN"),
    "continue": ("新しい券面事項と署名用電子証明書を書き込む", "Write new particulars and signature certificate"),
    "update": ("変更後の券面事項と署名用電子証明書を書き込む", "Write changed particulars and signature certificate"),
    "renew": ("新しい電子証明書を書き込む", "Write new certificates"),
    "resume": ("カードを再開し新しい電子証明書を書き込む", "Resume the card with new certificates"),
    "terminate": ("カードを使えなくする", "End the card"),
}
PINS: Final[dict[str, Pair]] = {
    "signature": ("署名用電子証明書", "Signature certificate"),
    "authentication": ("利用者証明用電子証明書", "User-authentication certificate"),
    "text": ("券面事項入力補助用", "Text-entry support"),
    "juki": ("住民基本台帳用", "Resident register"),
}
SEXES: Final[dict[str, Pair]] = {
    "male": ("男", "Male"),
    "female": ("女", "Female"),
    "other": ("その他", "Other"),
    "unknown": ("不明", "Unknown"),
}
ROLES: Final[dict[str, Pair]] = {
    "counter": ("窓口担当", "Counter"),
    "manager": ("管理者", "Manager"),
    "auditor": ("監査担当", "Auditor"),
}
CHECKS: Final[dict[str, Pair]] = {
    "notice": ("交付通知書", "Delivery notice"),
    "documents": ("本人確認書類（A 1点 または B 2点）", "Identity documents (one of A or two of B)"),
    "face": ("顔写真の照合", "Comparison of the face"),
    "returned": ("旧カード・通知カードの返納", "Old card or notification card returned"),
    "proxy": ("代理人による手続き", "A proxy has come"),
    "licence": ("運転免許証", "Driver's licence"),
    "passport": ("旅券", "Passport"),
    "disability": ("身体障害者手帳など", "Disability certificate"),
    "residence_card": ("在留カード・特別永住者証明書", "Residence card"),
    "history": ("運転経歴証明書", "Driving history certificate"),
    "insurance": ("資格確認書", "Insurance eligibility certificate"),
    "pension": ("年金手帳・基礎年金番号通知書", "Pension book"),
    "student": ("学生証", "Student card"),
    "employee": ("社員証", "Employee card"),
    "medical": ("医療費受給者証", "Medical certificate"),
    "proxy_power": ("照会書兼回答書（委任）", "Inquiry and answer, with the power of attorney"),
    "proxy_documents": ("代理人の本人確認書類", "The proxy's own documents"),
    "proxy_reason": ("来庁できないことの疎明資料", "Proof that the holder cannot come"),
}
REASONS: Final[dict[str, Pair]] = {
    "lost": ("紛失（警察への届出済）", "Lost, reported to the police"),
    "stolen": ("盗難（警察への届出済）", "Stolen, reported to the police"),
    "destroyed": ("焼失・破損", "Destroyed"),
    "deceased": ("死亡", "Deceased"),
    "other": ("その他", "Other"),
}
REISSUES: Final[dict[str, Pair]] = {
    "lost": ("紛失・盗難", "Lost or stolen"),
    "damaged": ("破損・機能の故障", "Damaged"),
    "expired": ("有効期限の満了・失効", "Expired or lapsed"),
    "returned": ("返納", "Returned"),
    "other": ("その他", "Other"),
}
APPROVALS: Final[dict[str, Pair]] = {
    "asked": ("承認待ち", "Waits for approval"),
    "granted": ("承認済・処理中", "Approved, under way"),
    "done": ("処理済", "Done"),
    "refused": ("却下", "Refused"),
}
PARTS: Final[dict[str, Pair]] = {
    "path": (
        "センターへの経路に障害が起きています。始めた手続きは保存されており、復旧後に続きから再開できます。",
        "The way to the centre is disturbed. What was begun is kept, and goes on from where it stands afterwards.",
    ),
}
PARTS["store"] = (
    "記録の保存先に障害が起きています。サインインや新しい手続きができないことがあります。",
    "The counters' store is disturbed: signing in and new work may fail.",
)
PROBLEMS: Final[dict[str, Pair]] = {
    "differs": ("2回の入力が一致しません。", "The two entries differ."),
    "password_form": (
        "英大文字と数字をどちらも含む6～16文字で入力してください。",
        "6 to 16 capital letters and digits, at least one of each.",
    ),
    "digits_form": ("数字4桁で入力してください。", "Four digits."),
    "card.wrong_pin": ("暗証番号が違います。", "This PIN is wrong."),
    "card.pin_blocked": (
        "誤りが続いたため、この暗証番号は使えません。係員にお申し出ください。",
        "This PIN is blocked after too many wrong tries. Please tell the clerk.",
    ),
}
ACTIONS: Final[dict[str, Pair]] = {
    "staff.sign_in": ("サインイン", "Signed in"),
    "work.begin": ("手続き開始", "Began work"),
    "resident.look": ("住民情報の閲覧", "Looked at a resident"),
    "resident.search": ("住民の検索", "Searched residents"),
    "photo.look": ("顔写真の閲覧", "Looked at a photo"),
    "card.suspend": ("一時停止の届出", "Reported a loss"),
    "certificates.revoke": ("電子証明書の失効", "Revoked certificates"),
    "approval.ask": ("承認の依頼", "Asked for an approval"),
    "approval.grant": ("承認", "Approved"),
    "paper.notice": ("交付通知書の印刷", "Printed a delivery notice"),
    "paper.receipt": ("受領書の印刷", "Printed a receipt"),
    "paper.particulars": ("追記欄の印刷", "Printed appended particulars"),
    "paper.application_form": ("交付申請書の印刷", "Printed an application form"),
    "audit.look": ("記録の閲覧", "Looked at the trail"),
}

ERRORS: Final[dict[str, tuple[Pair, Pair]]] = {
    "card.gone": (
        ("カードがリーダーから外れました。", "The card was taken off the reader."),
        (
            "カードを置き直して「続きから再開」を押してください。書込みの結果はカードに尋ねて確かめます。",
            "Lay it back and press “Go on”. What was written is asked of the card itself.",
        ),
    ),
    "counter.card_not_here": (
        ("このカードはリーダーにありません。", "This card is not on the reader."),
        ("カードをリーダーに置いてください。", "Lay the card on the reader."),
    ),
    "counter.checks_missing": (
        ("確認が済んでいない書類があります。", "Not every document has been checked."),
        ("必要な確認をすべて行ってから進めてください。", "Check what is asked for, then go on."),
    ),
    "counter.same_person": (
        ("依頼した本人は承認できません。", "Who asked cannot approve."),
        ("別の管理者に承認を依頼してください。", "Ask another manager."),
    ),
    "counter.paper_not_due": (
        ("いまのカードの状態では、この書類は印刷できません。", "This paper is not for a card in this state."),
        ("カードの画面で、いまの状態を確かめてください。", "See on the card's page how it stands."),
    ),
    "paper.too_long": (
        ("印刷する内容が用紙に収まりません。", "What is to be printed does not fit the paper."),
        ("項目を分けて印刷するか、手書きで記入してください。", "Print the items one by one, or write by hand."),
    ),
    "application.card_held": (
        ("この住民には有効なカードがあります。", "The resident has a card."),
        ("先にいまのカードを廃止してください。", "End that card first."),
    ),
    "application.wrong_state": (
        ("申請の手続きが進んでいるため、新しい申請書は出せません。", "The application takes its course: no new form."),
        ("申請の結果を待ってください。", "Wait for what becomes of it."),
    ),
    "counter.not_asked": (
        ("この依頼はすでに処理されています。", "This was settled already."),
        ("画面を読み直してください。", "Load the page again."),
    ),
    "connection_excess": (
        ("センターが混雑しています。", "The centre is busy."),
        (
            "順番が来たら自動で続けます。手続きは保存されています。",
            "It goes on by itself in its turn; the work is kept.",
        ),
    ),
    "card.wrong_pin": (
        ("暗証番号が違います。", "The PIN was wrong."),
        (
            "残り回数を確かめ、住民に入力し直してもらってください。",
            "See the tries left and let the resident enter it again.",
        ),
    ),
    "card.pin_blocked": (
        ("暗証番号がロックされています。", "The PIN is blocked."),
        ("この手続きを取りやめ、暗証番号の再設定を行ってください。", "Give this work up and reset the PIN."),
    ),
    "card.wrong_state": (
        ("カードの状態がこの手続きに合いません。", "The card's state does not allow this."),
        (
            "カードの画面で、いまの状態とできる手続きを確かめてください。",
            "See on the card's page how it stands and what can be done.",
        ),
    ),
    "card.wrong_municipality": (
        ("この手続きは別の市区町村の窓口で行います。", "Another municipality's counter does this."),
        ("住民に、手続きできる市区町村を案内してください。", "Tell the resident where to go."),
    ),
    "card.no_room_left": (
        ("追記欄に空きがありません。", "There is no room for further particulars."),
        ("カードの再交付を案内してください。", "A new card is needed."),
    ),
    "operation.other_open": (
        ("このカードでは別の手続きが途中です。", "Another operation is open on this card."),
        ("「途中の手続き」から再開するか、取りやめてください。", "Go on with it, or give it up, under “Open work”."),
    ),
    "operation.taken_up_again": (
        ("別の端末がこの手続きを再開しました。", "Another terminal has taken this work up."),
        ("続きから再開すると、いまの状態から進みます。", "Go on: it continues from how things stand."),
    ),
    "record.not_found": (
        ("該当する記録がありません。", "There is no such record."),
        (
            "番号を確かめてください。他の市区町村の記録は表示できません。",
            "Check the number. Other municipalities' records are not shown.",
        ),
    ),
    "search.nothing_asked": (
        ("検索する内容がありません。", "Nothing to search for."),
        ("氏名、生年月日、番号のいずれかを入力してください。", "Enter a name, a birth date or a number."),
    ),
    "request.malformed": (
        ("入力の形式が正しくありません。", "The form of what was entered is wrong."),
        ("桁数や日付を確かめてください。", "Check the digits and dates."),
    ),
    "screens.forged_form": (
        ("この画面からの送信ではありません。", "This was not sent from your page."),
        ("画面を開き直してやり直してください。何も変更されていません。", "Open the page again. Nothing was changed."),
    ),
    "staff.not_your_role": (
        ("あなたの役割ではこの操作はできません。", "Your role does not allow this."),
        ("担当の職員に依頼してください。", "Ask a colleague whose task it is."),
    ),
    "staff.sign_in_refused": (
        ("サインインできませんでした。", "Not signed in."),
        ("職員ID、パスワード、確認コードを確かめてください。", "Check login, password and code."),
    ),
    "staff.throttled": (
        ("失敗が続いたため、しばらくサインインできません。", "Too many attempts failed: please wait."),
        ("時間をおいてやり直してください。", "Try again later."),
    ),
    "part.unavailable": (
        ("接続先が応答していません。", "A part that is needed does not answer."),
        (
            "しばらくしてから続きを再開してください。手続きは保存されています。",
            "Go on a little later. The work is kept.",
        ),
    ),
    "part.unreachable": (
        ("センターに接続できません。", "The centre cannot be reached."),
        (
            "しばらくしてから続きを再開してください。手続きは保存されています。",
            "Go on a little later. The work is kept.",
        ),
    ),
    "deadline.passed": (
        ("時間内に応答がありませんでした。", "No answer came in time."),
        (
            "結果はまだ分かりません。続きから再開すると、カードと記録を照らして確かめます。",
            "The result is not known yet. Going on compares card and record.",
        ),
    ),
}
_MINUTE_S: Final = 60
_UNKNOWN: Final[tuple[Pair, Pair]] = (
    ("処理を完了できませんでした。", "This could not be completed."),
    (
        "手続きは保存されています。続きから再開するか、管理者に連絡してください。",
        "The work is kept. Go on, or tell the manager.",
    ),
)


class Words:
    """Codes in one language, for templates."""

    def __init__(self, language: str) -> None:
        self._side = 1 if language == "en" else 0

    def of(self, table: str, code: str) -> str:
        """A code's words; the code itself when it has none."""
        found = _TABLES[table].get(code)
        return found[self._side] if found else code

    def error(self, code: str) -> str:
        """What happened."""
        return ERRORS.get(code, _UNKNOWN)[0][self._side]

    def next(self, code: str) -> str:
        """What to do now."""
        return ERRORS.get(code, _UNKNOWN)[1][self._side]

    def date(self, day: datetime.date | None) -> str:
        """A date."""
        if day is None:
            return "–"
        return day.isoformat() if self._side else f"{day.year}年{day.month}月{day.day}日"

    def time(self, at_ms: int) -> str:
        """An instant in Japan, to the minute."""
        moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.timezone(datetime.timedelta(hours=9)))
        return moment.strftime("%Y-%m-%d %H:%M")

    def expected(self, since_ms: int, now_ms: int) -> str:
        """Since when something is disturbed, and how much longer that is likely to last."""
        since, shown = self.time(since_ms)[-5:], self.time(now_ms)[-5:]
        seconds = -(-expected_wait_ms(now_ms - since_ms) // 1000)
        minutes = -(-seconds // _MINUTE_S)
        if self._side:
            wait = f"{seconds} seconds" if seconds < _MINUTE_S else f"{minutes} minute{'s' if minutes > 1 else ''}"
            return (
                f"Since {since}. At {shown} expected to last about another {wait}. "
                "It is tried again all the time; this notice goes by itself."
            )
        wait = f"{seconds}秒" if seconds < _MINUTE_S else f"{minutes}分"
        return (
            f"{since}から続いています。{shown}現在の見込み：あと約{wait}。"
            "自動で確かめ続け、復旧するとこの表示は消えます。"
        )


_TABLES: Final[dict[str, dict[str, Pair]]] = {
    "operation": OPERATIONS,
    "card": CARD_STATES,
    "chip": CHIP_STATES,
    "certificate": CERTIFICATES,
    "work": WORK_STATES,
    "step": STEPS,
    "unsettled": UNSETTLED,
    "pin": PINS,
    "sex": SEXES,
    "role": ROLES,
    "check": CHECKS,
    "reason": REASONS,
    "reissue": REISSUES,
    "approval": APPROVALS,
    "part": PARTS,
    "problem": PROBLEMS,
    "action": ACTIONS,
}
