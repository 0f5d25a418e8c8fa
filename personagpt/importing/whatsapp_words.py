"""What WhatsApp writes in place of a message on Android, in its languages. The iPhone marks such text itself."""

from __future__ import annotations

import re

_DELETED = """
this message was deleted|you deleted this message|this message has been deleted|message deleted
diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|ce message a été supprimé|vous avez supprimé ce message
se eliminó este mensaje|eliminaste este mensaje|este mensaje fue eliminado|este mensaje ha sido eliminado
questo messaggio è stato eliminato|hai eliminato questo messaggio|mensagem apagada|esta mensagem foi apagada
essa mensagem foi apagada|apagou esta mensagem|você apagou esta mensagem|apagaste esta mensagem
dit bericht is verwijderd|u hebt dit bericht verwijderd|je hebt dit bericht verwijderd
данное сообщение удалено|это сообщение удалено|вы удалили данное сообщение|вы удалили это сообщение
це повідомлення було видалено|ви видалили це повідомлення|ta wiadomość została usunięta|usunięto tę wiadomość
tato zpráva byla smazána|tato zpráva byla odstraněna|tuto zprávu jste smazal/a|tuto zprávu jste odstranil/a
bu mesaj silindi|bu mesajı sildiniz|pesan ini dihapus|pesan ini telah dihapus|anda menghapus pesan ini
anda telah menghapus pesan ini|detta meddelande raderades|du raderade detta meddelande|denne besked blev slettet
tämä viesti poistettiin|poistit tämän viestin|ez az üzenet törölve lett|acest mesaj a fost șters
このメッセージは削除されました|このメッセージを削除しました|此消息已删除|您已删除此消息|你已删除此消息|您已删除这条消息
此訊息已刪除|你已刪除此訊息|您已刪除此訊息|삭제된 메시지입니다
메시지를 삭제했습니다|تم حذف هذه الرسالة|لقد حذفت هذه الرسالة
הודעה זו נמחקה|מחקת הודעה זו|यह मैसेज डिलीट किया गया|आपने यह मैसेज डिलीट किया|tin nhắn này đã bị xóa|bạn đã xóa tin nhắn này
"""
DELETED = frozenset(phrase for line in _DELETED.strip().split("\n") for phrase in line.split("|"))

# Behind a file's name: `IMG-20231112-WA0001.jpg (file attached)`.
ATTACHED = (
    "file attached|attachment|datei angehängt|fichier joint|archivo adjunto|file allegato|arquivo anexado|"
    "ficheiro anexado|bestand bijgevoegd|файл добавлен|файл додано|soubor byl přiložen|plik dołączony|dosya ekli|"
    "file terlampir|bifogad fil|文件附件|附件|檔案已附加|ファイル添付|파일 첨부됨|ملف مرفق|הקובץ מצורף"
)
# Behind the text of a message that was edited.
EDITED = (
    "this message was edited|diese nachricht wurde bearbeitet|ce message a été modifié|se editó este mensaje|"
    "questo messaggio è stato modificato|messaggio modificato|(?:esta )?mensagem (?:foi )?editada|"
    "esta mensagem foi editada|dit bericht is bewerkt|данное сообщение изменено|ta wiadomość została edytowana|"
    "bu mesaj düzenlendi|pesan ini diedit|此消息已编辑|此訊息已編輯|このメッセージは編集されました|수정된 메시지입니다"
)
# Calls, places, and what the export leaves out, as old exports name it without angle brackets.
OTHER = re.compile(
    r"(?:missed|silenced) (?:group )?(?:voice|video) call\b.{0,60}|(?:voice|video) call(?:[,.] .{0,40})?|"
    r"(?:verpasster )?(?:sprach|video)anruf|"
    r"appel (?:vocal|vidéo) manqué|(?:video)?llamada (?:de voz |de vídeo )?perdida|chiamata (?:vocale |video )?persa|"
    r"chamada de (?:voz|vídeo) perdida|gemiste (?:spraak|video)oproep|пропущенный (?:аудио|видео)звонок|"
    r"zmeškan[áýé] (?:hlasový |video)?hovor|nieodebrane połączenie (?:głosowe|wideo)|"
    r"cevapsız (?:sesli|görüntülü) arama|"
    r"null|waiting for this message\b.*|live location shared|"
    r"[^\W\d_]{3,20} ?: https://(?:maps\.google\.com/\?q=|maps\.app\.goo\.gl/)\S*|"
    r"(?:image|video|audio|gif|sticker|document|contact card|video note|view once \w+(?: message)?) omitted",
    re.IGNORECASE,
)
