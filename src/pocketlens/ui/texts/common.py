"""What several screens say, and what can go wrong."""

from typing import Final

TEXTS: Final = {
    "language": ("Language", "언어"),
    "nav_recognise": ("Recognise", "알아보기"),
    "nav_teach": ("Teach", "가르치기"),
    "nav_train": ("Train", "학습하기"),
    "nav_compare": ("Compare", "비교하기"),
    "nav_jobs": ("Jobs and storage", "작업과 저장 공간"),
    "token": ("Access token", "접근 토큰"),
    "token_why": (
        "This service answers only those who have a token. Enter yours; it is kept until you "
        "close this page.",
        "이 서비스는 토큰이 있는 사람에게만 답합니다. 토큰을 입력하세요. 이 페이지를 닫을 때까지만 "
        "보관합니다.",
    ),
    "token_use": ("Use this token", "이 토큰 사용"),
    "token_forget": ("Forget the token", "토큰 지우기"),
    "open_to_all": (
        "This page can be reached by others, but the service behind it asks for no token, so "
        "everybody could see and change everything. Start the service with --tokens.",
        "다른 사람도 이 페이지에 접속할 수 있지만 서비스가 토큰을 요구하지 않아 누구나 모든 것을 "
        "보고 바꿀 수 있습니다. 서비스를 --tokens 옵션으로 시작하세요.",
    ),
    "unreachable": (
        "The service at {service} can't be reached. Is `pocketlens serve` running? This page "
        "keeps trying.",
        "{service} 의 서비스에 연결할 수 없습니다. `pocketlens serve` 가 실행 중인가요? 이 페이지가 "
        "계속 다시 시도합니다.",
    ),
    "state_Pending": ("Pending: waiting for a free worker", "대기 중: 차례를 기다립니다"),
    "state_Running": ("Running", "처리 중"),
    "state_Done": ("Done", "완료"),
    "state_Failed": ("Failed", "실패"),
    "state_Cancelled": ("Cancelled", "취소됨"),
    "cancel": ("Cancel", "취소"),
    "confirm": ("Yes, do it", "네, 진행합니다"),
    "back": ("No, leave it", "아니요"),
    "delete": ("Delete", "삭제"),
    "count": ("Number", "수"),
    "reason": ("Reason", "이유"),
    "file": ("File", "파일"),
    "upload_button": ("Choose files", "파일 선택"),
    "upload_limit": ("up to {size} MB a file", "파일당 최대 {size} MB"),
    "take_photo": ("Take photo", "사진 찍기"),
    "trouble": ("That didn't work: {detail}", "처리하지 못했습니다: {detail}"),
    "trouble_ours": (
        "Something went wrong in the service. Try again; if it happens again, tell whoever runs it.",
        "서비스에 문제가 생겼습니다. 다시 시도해 보고, 계속되면 운영자에게 알려 주세요.",
    ),
    "code_body_too_large": (
        "That is more than the service takes at once. Send fewer or smaller files.",
        "한 번에 보낼 수 있는 크기를 넘었습니다. 더 적거나 작은 파일을 보내세요.",
    ),
    "code_too_many_parts": (
        "Those are more files than the service takes at once. Send them in portions.",
        "한 번에 보낼 수 있는 파일 수를 넘었습니다. 나누어 보내세요.",
    ),
    "code_too_many_images": (
        "Those are more photos than the service takes at once. Send them in portions.",
        "한 번에 보낼 수 있는 사진 수를 넘었습니다. 나누어 보내세요.",
    ),
    "code_rate_limited": (
        "Too many requests in a short time. Wait a little, then try again.",
        "짧은 시간에 요청이 너무 많았습니다. 잠시 후 다시 시도하세요.",
    ),
    "code_too_many_wrong_tokens": (
        "Too many wrong tokens came from here. Wait a few seconds, then enter the right one.",
        "잘못된 토큰이 너무 많이 입력되었습니다. 몇 초 뒤에 올바른 토큰을 입력하세요.",
    ),
    "code_too_much_waiting": (
        "Many of your photos are still waiting for their answers. Try again when some are done.",
        "아직 결과를 기다리는 사진이 많습니다. 일부가 끝난 뒤 다시 시도하세요.",
    ),
    "code_too_much_at_once": (
        "The service is taking in much from others just now. Try again in a few seconds.",
        "지금 서비스가 다른 사진을 많이 받고 있습니다. 몇 초 뒤에 다시 시도하세요.",
    ),
    "code_database_unavailable": (
        "The service's database can't be reached just now. Try again in a moment.",
        "지금은 서비스의 데이터베이스에 연결할 수 없습니다. 잠시 후 다시 시도하세요.",
    ),
    "code_storage_unavailable": (
        "The service's storage can't be reached just now. Try again in a moment.",
        "지금은 서비스의 저장소에 연결할 수 없습니다. 잠시 후 다시 시도하세요.",
    ),
    "code_quota_exceeded": (
        "Your storage is full. Delete data sets or jobs that you no longer need.",
        "저장 공간이 가득 찼습니다. 더 이상 필요 없는 데이터나 작업을 삭제하세요.",
    ),
    "code_no_usable_image": (
        "None of the photos can be read. Send photos as JPEG, PNG or WebP.",
        "읽을 수 있는 사진이 없습니다. JPEG, PNG, WebP 형식으로 보내세요.",
    ),
    "code_not_authenticated": (
        "The service doesn't know this token.",
        "서비스가 이 토큰을 알지 못합니다.",
    ),
    "code_wrong_host": (
        "Without tokens the service answers only on the machine that it runs on.",
        "토큰이 없으면 서비스는 자신이 실행되는 컴퓨터에서만 답합니다.",
    ),
    "code_empty_image": ("The file is empty.", "빈 파일입니다."),
    "code_unknown_image_format": (
        "This isn't a photo in a known format. Save it as JPEG or PNG.",
        "알 수 있는 사진 형식이 아닙니다. JPEG나 PNG로 저장해 보내세요.",
    ),
    "code_too_many_pixels": (
        "The photo has more pixels than the service takes. Make it smaller.",
        "서비스가 받을 수 있는 픽셀 수를 넘었습니다. 사진을 줄여 보내세요.",
    ),
    "code_svg_image": (
        "This is a drawing (SVG), not a photo. Save it as JPEG or PNG.",
        "사진이 아니라 그림(SVG)입니다. JPEG나 PNG로 저장해 보내세요.",
    ),
    "code_bad_box": (
        "The frame lies outside the photo.",
        "테두리가 사진 밖에 있습니다.",
    ),
    "code_unreadable_image": (
        "The photo's pixels are of a rare kind. Save it as JPEG or PNG.",
        "드문 픽셀 형식입니다. JPEG나 PNG로 저장해 보내세요.",
    ),
    "code_damaged_image": (
        "The photo is damaged or cut off.",
        "사진이 손상되었거나 잘려 있습니다.",
    ),
    "code_not_finite": (
        "The model gave no usable answer for this photo.",
        "모델이 이 사진에 쓸 만한 답을 내지 못했습니다.",
    ),
    "code_too_slow": (
        "Sending took too long. Try again over a better connection.",
        "전송이 너무 오래 걸렸습니다. 연결이 좋은 곳에서 다시 시도하세요.",
    ),
    "code_forbidden": (
        "Only an operator may do that.",
        "운영자만 할 수 있는 일입니다.",
    ),
    "code_not_found": (
        "It isn't there any more.",
        "더 이상 존재하지 않습니다.",
    ),
    "code_not_offered": (
        "This model was rejected, so it can't be used.",
        "이 모델은 심사에서 거절되어 사용할 수 없습니다.",
    ),
    "code_retired": (
        "This model was retired: its files were deleted, so it can't be used.",
        "이 모델은 물러나 파일이 삭제되었으므로 사용할 수 없습니다.",
    ),
    "code_stale_comparison": (
        "This model was compared with one that is no longer in use. Train again to compare it "
        "with today's.",
        "이 모델은 지금은 쓰지 않는 모델과 비교되었습니다. 현재 모델과 비교하려면 다시 학습하세요.",
    ),
    "code_changed_meanwhile": (
        "Somebody changed the model in the meantime. Look again, then decide.",
        "그 사이에 다른 사람이 모델을 바꾸었습니다. 다시 확인한 뒤 결정하세요.",
    ),
    "code_cancelled": ("It was cancelled.", "취소되었습니다."),
    "code_internal": (
        "Something went wrong in the service. Try again; if it happens again, tell whoever runs it.",
        "서비스에 문제가 생겼습니다. 다시 시도해 보고, 계속되면 운영자에게 알려 주세요.",
    ),
}
