"""Secrets are hidden by name, by shape and by the tool that takes them; what is ordinary stays as it is."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memguard.processes.masking import mask, mask_text
from pytest_memguard.processes.masking_hints import MASK, may_hold_secret

S = "HUNTER2xyz"
LONG = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
HEX = "0123456789abcdef0123456789abcdef"

SHAPES = [
    *(
        prefix + LONG
        for prefix in (
            "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "glrt-", "xoxb-", "xoxp-", "xapp-", "sk-",
            "sk-proj-", "sk-ant-api03-", "sk_live_", "sk_test_", "rk_live_", "npm_", "pypi-", "hf_", "gsk_",
            "dckr_pat_", "AIza", "hvs.",
        )
    ),
    f"xoxb-123456789012-1234567890123-{LONG}",
    f"sk-{HEX}",
    "AKIAIOSFODNN7ABCDEFG",
    "ASIAIOSFODNN7ABCDEFG",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{LONG}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY----- {LONG} {LONG}",
    f"https://{LONG}@github.com/a/b",
    f"https://{S}@github.com/a/b",
    f"https://x-access-token:{LONG}@github.com/a/b",
    f"postgres://ann:pa/ss{LONG}@host.example/db",
    f"ann:{LONG}@proxy.example.org:8080",
    f"root:{LONG}@tcp(127.0.0.1:3306)/shop",
    f"https://hooks.slack.com/services/T0AAAA/B0BBBB/{LONG}",
    f"https://discord.com/api/webhooks/123456789/{LONG}",
    f"https://discord.com/api/v10/webhooks/123456789/{LONG}",
    f"https://api.telegram.org/bot123456789:{LONG}/sendMessage",
    f"123456789:AA{LONG}",
    f"https://b.s3.amazonaws.com/x?X-Amz-Date=2024&X-Amz-Signature={LONG}&x=1",
    f"https://a.blob.core.windows.net/c?sv=2022&sig={LONG}",
    f"https://host/cb?code={LONG}&state=1",
    f"https://host/x?signature={LONG}",
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={LONG}==;EndpointSuffix=x",
    f"Endpoint=sb://a.net/;SharedAccessKeyName=root;SharedAccessKey={LONG}=",
]  # fmt: skip


def hidden(secret: str) -> str:
    """The piece of a shape that must not be seen."""
    for piece in (LONG, S, HEX, "IOSFODNN7ABCDEFG"):
        if piece in secret:
            return piece
    raise AssertionError(secret)


@pytest.mark.parametrize("secret", SHAPES)
@pytest.mark.parametrize(
    "form",
    [
        ["tool", "{}"],
        ["tool", "--opt={}"],
        ["tool", "--opt", "before,{}"],
        ["env", "NOTHING={}", "tool"],
        ["sh", "-c", "cd /x && tool {} --flag"],
        ["sh", "-c", "tool --opt='{}'; true"],
        ["bash", "-c", 'sh -c "tool \\"{}\\" x"'],
        ["ssh", "h", "bash -c 'tool --x=\"{}\"'"],
        ["tool", '{{"a": "b", "c": "{}"}}'],
    ],
    ids=" ".join,
)
def test_what_has_the_shape_of_a_secret_is_hidden_wherever_it_stands(secret, form):
    line = "\n".join(mask([word.format(secret) for word in form]))
    assert hidden(secret) not in line
    assert MASK in line
    assert hidden(secret) not in mask_text(" ".join(form).format(secret))


@pytest.mark.parametrize(
    "line",
    [
        f"mysql -uroot -p{S} db",
        f"mysqldump -h h -p'{S}' db",
        f"/usr/bin/mariadb -vp{S}",
        f"docker exec db mysql -p{S}",
        f"curl -u ann:{S} http://h",
        f"curl -uann:{S} http://h",
        f"curl -sSu 'ann:{S}' http://h",
        f"curl --user ann:{S} http://h",
        f"curl --user=ann:{S} http://h",
        f"curl -x p:1 --proxy-user ann:{S} http://h",
        f"curl -U ann:{S} http://h",
        f"curl -u {LONG}: http://h",
        f"curl -b session={S} http://h",
        f"curl -H 'Cookie: a=1; session={S}' http://h",
        f"curl -H 'X-Api-Key: {S}' http://h",
        f"curl -H'X-Api-Key: a,{S}' http://h",
        f"curl -H 'PRIVATE-TOKEN: {S}' http://h",
        f"curl -H 'Authorization: Custom a {S}' http://h",
        f"curl -H 'Authorization: Digest username=\"a\", response=\"{S}\"' http://h",
        f"sshpass -p {S} ssh -p 22 h",
        f"sshpass -p{S} ssh -p 22 h",
        f"sshpass -p -{S} ssh h",
        f"docker login -u a -p {S} registry.example",
        f"docker login -u a -p{S}",
        f"helm registry login -u a -p {S} h",
        f"redis-cli -h h -a {S} ping",
        f"redis-cli config set requirepass {S}",
        f"aws configure set aws_secret_access_key {S}",
        f"npm config set //registry.npmjs.org/:_authToken={S}",
        f"poetry config pypi-token.pypi {S}",
        f"openssl enc -aes-256-cbc -k {S}",
        f"openssl rsa -passin pass:{S} -in a.pem",
        f"openssl pkcs12 -passout 'pass:{S}' -in a.pem",
        f"openssl enc -pass pass:{S}",
        f"7z a -p{S} x.7z f",
        f"zip -rP {S} a.zip f",
        f"smbclient //h/s -U ann%{S}",
        f"lftp -u ann,{S} h",
        f"env DB_PASS={S} x",
        f"env SSHPASS={S} x",
        f"env MY_TOKEN={S} A_SECRET={S} SOME_KEY={S} x",
        f"tool --pass {S}",
        f"tool --credentials {S}",
        f"tool --password -{S}",
        f"tool --password=-{S}",
        f"tool --token --{S}",
        f"tool --private-key '-----BEGIN RSA PRIVATE KEY----- {S}'",
        f"tool --password abc,{S}",
        f"tool --password abc}}{S}",
        f"tool --password /{S}",
        f"keytool -storepass {S} -keypass {S}",
        f"redis-server --requirepass {S}",
        f"gh secret set NAME --body {S}",
        f"java -jar x.jar --spring.datasource.password={S}",
    ],
)  # fmt: skip
def test_the_secret_that_a_tool_takes_is_hidden_as_words_and_in_scripts(line):
    secret = S if S in line else LONG
    words = shlex.split(line)
    for masked in (mask(words), mask(["sh", "-c", f"cd /x && {line}"]), mask(["time", *words, "--verbose"])):
        assert secret not in "\n".join(masked)
        assert MASK in "\n".join(masked)


def test_a_key_that_a_shell_has_split_into_words_is_hidden_to_its_end():
    words = ["tool", *f"-----BEGIN RSA PRIVATE KEY----- {S} {S} -----END RSA PRIVATE KEY----- --flag".split()]
    masked = mask(words)
    assert S not in masked
    assert masked[-1] == "--flag"


def test_what_tells_about_a_secret_and_is_none_stays():
    assert mask(shlex.split(f"curl -u ann:{S} http://h")) == ["curl", "-u", f"ann:{MASK}", "http://h"]
    assert mask(shlex.split(f"sshpass -p {S} ssh -p 22 h")) == ["sshpass", "-p", MASK, "ssh", "-p", "22", "h"]
    assert mask([f"ghp_{LONG}"]) == [f"ghp_{MASK}"]
    assert mask(["sh", "-c", f"mysql -uroot -p{S} db; ls -p"]) == ["sh", "-c", f"mysql -uroot -p{MASK} db; ls -p"]
    assert mask(["openssl", "rsa", "-passin", f"pass:{S}"]) == ["openssl", "rsa", "-passin", f"pass:{MASK}"]
    assert mask([f"https://h/x?sv=1&sig={S}&z=2"]) == [f"https://h/x?sv=1&sig={MASK}&z=2"]


ORDINARY = """
git status
git commit -m "auth: fix the login"
git commit -m "fix token: handle expiry"
git commit -am "feat(auth): add password: reset"
git commit -m "Add password: hashing"
rg --files -g "*.key"
python -c "print(sorted(a, key=len))"
aws dynamodb get-item --table-name t --key '{"id": {"S": "1"}}'
openssl dgst -sha256 -verify pub.pem -signature f.sig f
sh -c "curl -u $USER:$PASS h"
git log --author=alice --oneline -n 20
git log --format=%H:%an:%s
git clone git@github.com:org/token-service.git
git clone https://github.com/org/secret-santa
git clone https://ann@bitbucket.org/org/repo
git clone ssh://git@host.example:2222/a/b
git checkout 3f786850e387550fdab836ed7e6dc881de23001b
git config credential.helper store
git config user.email ann@example.com
git config --global user.name ann
git push origin HEAD:refs/heads/token-refresh
git grep -n "password:" -- src
git -c core.sshCommand="ssh -i ~/.ssh/id_ed25519" fetch
npm run auth:login
npm run token:refresh
npm ci --ignore-scripts
npm install foo@npm:bar@1.0.0
npm install @scope/auth@2.1.0
npm test -- --grep "api key"
npm_config_registry=https://registry.npmjs.org npm ci
npx playwright test --project=chromium tests/auth.spec.ts
yarn workspace @shop/api run test:token
pnpm -r --filter auth... run build
bun test --timeout 5000 src/key.test.ts
node --max-old-space-size=4096 server.js --port 8080
node --inspect=127.0.0.1:9229 app.js
tsc -p tsconfig.json --noEmit
jest --runInBand -t "rejects a bad password"
pytest -p no:xdist -k "token or key"
pytest tests/test_auth.py::TestToken::test_secret
pytest tests/test_token.py::test_password[key-value]
pytest tests/login -p no:cacheprovider -q
pytest --junitxml=report.xml -m "not slow" --durations=10
python -m http.server 8000 --bind 127.0.0.1
python -c "import secrets; print(secrets.token_hex(16))"
python -m pip install keyring==24.0 passlib
python train.py --tokenizer bert-base --max-tokens 512 --eos-token x
python train.py --model hf_transformers_tiny --sk-learn 1
python manage.py runserver 0.0.0.0:8000
python -X importtime -W error::DeprecationWarning x.py
pip install sk-learn-contrib==1.0 pypi-attestations==0.0.9
uvicorn app:main --host 0.0.0.0 --port 80 --ssl-keyfile /etc/x.pem
gunicorn -w 4 -b unix:/run/app.sock auth:app
mysql --port 3306 --host db -u root -p shop
mysql -P 3306 -uroot -e "select 1"
mysqldump --single-transaction --port=3306 shop
psql -h db -p 5432 -U ann shop
pg_dump -Fc -f out.dump shop
redis-cli -h localhost -p 6379 get user:token:1
redis-cli set key:1 value
sqlite3 shop.db ".tables"
docker run -p 80:80 -v /host/secret:/run/secret:ro image
docker run -d --name mysql -p8080:80 mysql:8
docker run --rm -e POSTGRES_USER=ann token-service:1.2
docker run -v token:/data auth:1.2-alpine
docker pull redis:7@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
docker build -t shop/auth:latest --build-arg VERSION=1.2.3 .
docker compose -p shop -f docker-compose.yml up -d
docker login --password-stdin -u ann registry.example.com
kubectl -n auth get pods -o wide
kubectl get secret shop -o yaml
kubectl port-forward svc/auth 8080:80
helm upgrade --install shop ./chart --set image.tag=1.2
terraform plan -var-file=prod.tfvars -out=plan
ssh -p 22 ann@host.example uptime
ssh -i /home/ann/.ssh/id_rsa -o StrictHostKeyChecking=no host
ssh-keygen -t ed25519 -f /tmp/k -N ""
scp -P 22 a.txt ann@host:/tmp/
rsync -avz --password-file=/etc/rsync.pw src/ host::module
ansible-playbook site.yml --private-key ./deploy.pem --ask-become-pass
curl -sS -o out.json https://example.org:8080/path?page=2&size=3
curl -u : --negotiate https://h
curl -fsSL https://get.example.com/install.sh
curl -H "Accept: application/json" -H "Content-Type: text/plain" http://h
curl --key client.pem --cert client.crt https://h
curl -X POST http://localhost:3000/api/webhooks/stripe -d a=b
curl https://h/oauth/token -d grant_type=client_credentials
wget -q --user-agent=x https://h/a.tar.gz
openssl req -newkey rsa:2048 -keyout key.pem -out c.csr -passout env:PW
openssl x509 -in cert.pem -noout -text
gpg --passphrase-file /tmp/p --batch -d x.gpg
tar -u -f a.tar x
tar -xzpf a.tar.gz -C /tmp
sort -u -k2 --key=2,2 file
sort --key 2 file
cp -p a b
mkdir -p /tmp/a/b
ls -la /tmp/secrets /home/ann/passwords
grep -rn "token" src --include=*.py
grep "password:" config.yml
find . -name "*.key" -newer x -print0
sha256sum e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
cat /tmp/550e8400-e29b-41d4-a716-446655440000
cat aGVsbG8gd29ybGQgdGhpcyBpcyBhIGxvbmcgZmlsZSBuYW1l.bin
cat eyJhIjoxfQ.txt disk-usage-monitor-2024-01-01-x86_64 task-ABCdef123456789
make -j2 monkey=1 KEYBOARD=us PATH=/bin
make CFLAGS="-O2 -DKEY_SIZE=256" test
cmake -S . -B build -DCMAKE_BUILD_TYPE=Debug
gcc -O2 -Wall -o keygen keygen.c -lcrypto
cargo test --features tokenizer -- --test-threads=1
go test ./auth/... -run TestToken -count=1
go install example.com/x/y@latest
java -Xmx2g -jar app.jar --server.port=8080
mvn -q -DskipTests -Dkey.length=2048 verify
gradle test --tests com.shop.AuthTest
ffmpeg -i a.mp4 -pass 1 -b:v 1M b.mp4
env PWD=/home/ann SSH_AUTH_SOCK=/run/agent.1 TOKENIZERS_PARALLELISM=false x
env GIT_ASKPASS=/bin/echo AUTH_URL=https://h/login PUBLIC_KEY=abc x
sh -c "curl -H 'Authorization: Bearer $TOKEN' https://h"
sh -c "mysql -p$MYSQL_PASS -e 'select 1'"
sh -c 'test "$TOKEN" = x && echo "$TOKEN: ok"'
sh -c "cd /tmp && ls -p | sort -u; tar -u -f x.tar y"
bash -c "for k in a b; do echo key $k; done"
gh auth login -p ssh --hostname github.com
gh pr create --title "token: refresh" --body "password: none"
tool --auth none --auth-type basic --key-size 2048 --no-password x
tool --password --verbose file
tool --token=$TOKEN
mail -s hello mailto:ann@example.com
code --goto src/auth.ts:45:3
vim +12 src/token.rs
watchexec -e py -- pytest -x
""".strip().splitlines()


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_command_stays_as_it_is(line):
    words = shlex.split(line)
    if "$" not in line:
        assert mask(words) == words
    assert mask(["sh", "-c", line]) == ["sh", "-c", line]


PIECES = [
    *SHAPES, S, *" \n'\"\\,;|{}()@/.-=:?&$*x1", "  ", '\\"', "--", "***", "::", "://", "$X",
    *str.split("password --token key Authorization Cookie auth Bearer code sig set curl mysql docker login openssl"),
    *str.split("-p -u -uann: -pass -a pass: host.example sshpass -----BEGIN ----- -----END eyJ ghp_ AKIA /bot1:"),
    "hooks.slack.com/",
]  # fmt: skip
fragments = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)


@given(st.lists(fragments, max_size=5))
def test_masking_adds_no_more_than_its_marks_and_a_second_time_nothing(words):
    masked = mask(words)
    assert len(masked) == len(words)
    assert mask(masked) == masked
    for word, shown in zip(words, masked, strict=True):
        assert len(shown) <= len(word) + len(MASK) * shown.count(MASK)


@given(st.lists(fragments, max_size=5))
def test_what_holds_no_hint_holds_nothing_to_hide(words):
    assert may_hold_secret(words) or mask(words) == words


@pytest.mark.parametrize("line", ["sleep 30", "./idle 10 300 ready", "bun test", "python server.py", "node app.js -v"])
def test_a_command_without_a_hint_does_not_need_the_rules(line):
    assert not may_hold_secret(shlex.split(line))


@given(fragments)
def test_a_text_is_masked_once_and_for_all(text):
    masked = mask_text(text)
    assert mask_text(masked) == masked
    assert len(masked) <= len(text) + len(MASK) * masked.count(MASK)
